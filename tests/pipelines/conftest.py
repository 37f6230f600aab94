"""A real ZenML store and a real MLflow store for each test, and data small enough to train on in seconds."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from pipelines_data import write_images
from zenml.client import Client
from zenml.config.global_config import GlobalConfiguration
from zenml.environment import Environment

STORE = Path("local_stores") / "default_zen_store" / "zenml.db"


def _open_store(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    monkeypatch.setenv("ZENML_CONFIG_PATH", str(root))
    monkeypatch.setenv("ZENML_LOCAL_STORES_PATH", str(root / "local_stores"))
    GlobalConfiguration._reset_instance()
    Client._reset_instance()


@pytest.fixture(scope="session")
def migrated_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ZenML database with all migrations done, made once."""
    root = tmp_path_factory.mktemp("zenml-template")
    with pytest.MonkeyPatch.context() as patch:
        _open_store(patch, root)
        _ = Client().active_stack
    GlobalConfiguration._reset_instance()
    Client._reset_instance()
    return root / STORE


@pytest.fixture
def stores(migrated_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Folder of fresh stores: `mlflow.db`, and `zenml/` for ZenML; the working folder too."""
    target = tmp_path / "zenml" / STORE
    target.parent.mkdir(parents=True)
    shutil.copy(migrated_store, target)
    # ZenML asks `pip freeze` twice a run, which takes longer than the run.
    monkeypatch.setattr(Environment, "get_python_packages", staticmethod(lambda: []))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.chdir(tmp_path)
    _open_store(monkeypatch, tmp_path / "zenml")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(threads)
    GlobalConfiguration._reset_instance()
    Client._reset_instance()


@pytest.fixture
def squares(tmp_path: Path) -> Path:
    """Manifest of the squares."""
    return write_images(tmp_path / "squares")
