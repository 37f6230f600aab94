"""A real ZenML store and a real MLflow store for each test, and data small enough to train on in seconds."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from zenml.client import Client
from zenml.config.global_config import GlobalConfiguration
from zenml.environment import Environment

SIDE = 32
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


def write_images(folder: Path, *, train: int = 16, test: int = 24, seed: int = 0) -> Path:
    """Red and blue squares on grey noise, with masks; returns the manifest's path."""
    rng = np.random.default_rng(seed)
    rows = []
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    for split, count in (("train", train), ("validation", 6), ("test", test)):
        for label, colour in (("blue", (40, 60, 220)), ("red", (220, 60, 40))):
            for number in range(count):
                image = rng.integers(90, 150, (SIDE, SIDE, 3), dtype=np.uint8)
                mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
                top, left = rng.integers(0, SIDE - 14, 2)
                mask[top : top + 14, left : left + 14] = 255
                image[mask > 0] = colour
                name = f"{split}-{label}-{number:03d}.png"
                Image.fromarray(image).save(folder / "images" / name)
                Image.fromarray(mask).save(folder / "masks" / name)
                rows.append(
                    {"image": f"images/{name}", "region": f"masks/{name}", "label": label, "split": split}
                )
    frame = pd.DataFrame(rows).assign(group=lambda table: [f"g{row // 2}" for row in range(len(table))])
    frame.to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"


@pytest.fixture
def squares(tmp_path: Path) -> Path:
    """Manifest of the squares."""
    return write_images(tmp_path / "squares")


TRAINING = {
    "epochs": 3,
    "batch_size": 16,
    "learning_rate": 3e-3,
    "preprocessing": {"size": [SIDE, SIDE]},
}
AUDIT = {"gallery_worst": 3, "gallery_sample": 3}
_TERMS = {
    "audit": {"draws": 1, "min_images": 10, "min_groups": 2},
    "coverage": {"overall": 0.0, "per_class": 0.0},
}
LENIENT = {**_TERMS, "checks": {"invalid_activation": {"max": 1.0}}}
STRICT = {**_TERMS, "checks": {"invalid_activation": {"max": 0.0}}}
