"""A real ZenML store and a real MLflow store for each test, and data small enough to train on in seconds."""

from __future__ import annotations

from pathlib import Path

import pytest
from pipelines_data import write_images
from zenml.utils import source_utils

from zenml_stores import migrated_stores, stores

__all__ = ["migrated_stores", "stores"]

# ZenML would take the folder of `__main__`, which a worker process of pytest-xdist does not have.
source_utils.set_custom_source_root(str(Path(__file__).parent))


@pytest.fixture
def squares(tmp_path: Path) -> Path:
    """Manifest of the squares."""
    return write_images(tmp_path / "squares")
