"""The workshop is made once; each page gets a copy of it, and stores of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from docs_workshop import Workshop, make_workshop
from zenml.utils import source_utils

from zenml_stores import migrated_stores, stores

__all__ = ["migrated_stores", "stores"]

if not getattr(sys.modules["__main__"], "__file__", None):
    # In a worker process of pytest-xdist ZenML finds no folder of `__main__` that sources could lie in.
    source_utils.set_custom_source_root(str(Path(__file__).parent))


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Pictures with masks and a trained model."""
    return make_workshop(tmp_path_factory.mktemp("workshop"))
