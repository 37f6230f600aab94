"""Fixtures for tests that run ZenML: a real ZenML store and a real MLflow store for each test."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
from mlflow import MlflowClient
from mlflow.tracking import fluent
from sqlalchemy import event
from sqlalchemy.engine import Engine
from zenml.client import Client
from zenml.config.global_config import GlobalConfiguration
from zenml.environment import Environment
from zenml.utils import source_utils

STORE = Path("local_stores") / "default_zen_store" / "zenml.db"


def _open_store(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    monkeypatch.setenv("ZENML_CONFIG_PATH", str(root))
    monkeypatch.setenv("ZENML_LOCAL_STORES_PATH", str(root / "local_stores"))
    GlobalConfiguration._reset_instance()
    Client._reset_instance()


package_of = lru_cache(source_utils._get_package_for_module)


@event.listens_for(Engine, "connect")
def _no_fsync(connection: Any, record: Any) -> None:
    """These databases need not survive a power cut, and half of a run would be waiting for the disk."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous=OFF")


@pytest.fixture(scope="session")
def migrated_stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with databases of ZenML and MLflow, all migrations done, made once."""
    root = tmp_path_factory.mktemp("zenml-template")
    with pytest.MonkeyPatch.context() as patch:
        _open_store(patch, root)
        _ = Client().active_stack
        database = root / "mlflow.db"
        MlflowClient(f"sqlite:///{database}").search_experiments()
    GlobalConfiguration._reset_instance()
    Client._reset_instance()
    return root


@pytest.fixture
def stores(migrated_stores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Folder of fresh stores: `mlflow.db`, and `zenml/` for ZenML; the working folder too."""
    target = tmp_path / "zenml" / STORE
    target.parent.mkdir(parents=True)
    shutil.copy(migrated_stores / STORE, target)
    shutil.copy(migrated_stores / "mlflow.db", tmp_path / "mlflow.db")
    # ZenML asks `pip freeze` twice a run and looks all installed packages through at each type of pandas,
    # which together takes longer than the run.
    monkeypatch.setattr(Environment, "get_python_packages", staticmethod(lambda: []))
    monkeypatch.setattr(source_utils, "_get_package_for_module", package_of)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setenv("ZENML_DISABLE_STEP_LOGS_STORAGE", "true")
    monkeypatch.chdir(tmp_path)
    _open_store(monkeypatch, tmp_path / "zenml")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path
    # What ZenML's tracker leaves behind in the process.
    mlflow.set_tracking_uri(None)
    fluent._active_experiment_id = None
    os.environ.pop("MLFLOW_EXPERIMENT_ID", None)
    for name in ("USERNAME", "PASSWORD", "TOKEN", "INSECURE_TLS"):
        os.environ.pop(f"MLFLOW_TRACKING_{name}", None)
    torch.set_num_threads(threads)
    GlobalConfiguration._reset_instance()
    Client._reset_instance()
