"""The workshop is made once; each page gets a copy of it, and stores of its own."""

from __future__ import annotations

import pytest
from docs_workshop import Workshop, make_workshop

from zenml_stores import migrated_stores, stores

__all__ = ["migrated_stores", "stores"]


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Pictures with masks and a trained model."""
    return make_workshop(tmp_path_factory.mktemp("workshop"))
