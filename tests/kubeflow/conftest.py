"""A real ZenML store and a real MLflow store, as for ZenML's pipelines: both are compared."""

from __future__ import annotations

from pathlib import Path

from zenml.utils import source_utils

from zenml_stores import migrated_stores, stores

__all__ = ["migrated_stores", "stores"]

source_utils.set_custom_source_root(str(Path(__file__).parent))
