"""The modules of `docker/` are scripts beside each other."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

DOCKER = Path(__file__).resolve().parents[2] / "docker"


@pytest.fixture(autouse=True, scope="session")
def docker_modules() -> Iterator[None]:
    sys.path.insert(0, str(DOCKER))
    yield
    sys.path.remove(str(DOCKER))
