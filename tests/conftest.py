"""Fixtures for the whole suite."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("ZENML_ANALYTICS_OPT_IN", "false")
os.environ.setdefault("ZENML_LOGGING_VERBOSITY", "WARN")
os.environ.setdefault("ZENML_ENABLE_RICH_TRACEBACK", "false")
os.environ.setdefault("MPLBACKEND", "Agg")

REPO = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def photos_root() -> Path:
    """Folder with the photographs (`walkway/`, `walkway_place/`); skips where it is absent."""
    root = Path(os.environ.get("CAMGATE_TEST_DATA", REPO.parent / "shared" / "data"))
    if not (root / "walkway" / "manifest.csv").is_file():
        pytest.skip(f"no photographs in {root}; set CAMGATE_TEST_DATA to their folder")
    return root
