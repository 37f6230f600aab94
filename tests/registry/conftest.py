"""A real MLflow store per test (SQLite, migrated once), a tiny classifier, and a real audit of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from mlflow import MlflowClient
from PIL import Image

from camgate.audit.result import AuditResult
from camgate.audit.runner import audit
from camgate.data.manifest import validate_manifest
from camgate.data.preprocessing import Preprocessing
from camgate.gate.policy import Policy
from camgate.gate.verdict import CheckResult, Status, Verdict
from camgate.gate.waivers import WaiverTerms
from camgate.models.builders import build
from camgate.models.classifier import Classifier
from camgate.registry.connection import prepare_local_store
from camgate.registry.digest import folder_digest
from camgate.registry.promotion import Promotion, register_and_promote
from camgate.registry.runs import open_run

TINY = {"widths": (8, 8, 16, 16), "blocks": (1, 1, 1)}
CLASSES = ("red", "blue")


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with all of MLflow's tables and nothing in them; making one takes seconds."""
    folder = tmp_path_factory.mktemp("migrated")
    prepare_local_store(folder, "none")
    return folder / "mlflow.db"


@pytest.fixture
def store(migrated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Tracking URI of an empty store; MLflow's own default points elsewhere, where nothing may be written."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = tmp_path / "store"
    folder.mkdir()
    shutil.copy(migrated, folder / "mlflow.db")
    before = mlflow.get_tracking_uri()
    yield f"sqlite:///{folder / 'mlflow.db'}"
    assert mlflow.get_tracking_uri() == before, "the process-wide tracking URI was changed"
    assert not list(elsewhere.iterdir()), "something was written to the working folder"


@pytest.fixture
def run_id(store: str) -> str:
    return open_run(experiment="camgate tests", key="pipeline-1", tracking_uri=store)


@pytest.fixture
def make_classifier() -> Callable[..., Classifier]:
    def make(
        *, seed: int = 0, classes: tuple[str, ...] = CLASSES, target_layer: str | None = None
    ) -> Classifier:
        torch.manual_seed(seed)
        return Classifier(
            build("resnet_small", TINY, len(classes)).eval(),
            classes,
            Preprocessing(size=(32, 32)),
            target_layer=target_layer,
            builder="resnet_small",
            builder_args=TINY,
        )

    return make


@pytest.fixture
def classifier(make_classifier: Callable[..., Classifier]) -> Classifier:
    return make_classifier()


@pytest.fixture(scope="session")
def squares(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """24 images of a coloured square on noise, 32 px."""
    folder = tmp_path_factory.mktemp("registry-squares")
    chance = np.random.default_rng(3)
    rows = []
    for number in range(24):
        pixels = chance.integers(0, 80, (32, 32, 3), dtype=np.uint8)
        region = np.zeros((32, 32), dtype=np.uint8)
        top, left = chance.integers(4, 18, 2)
        region[top : top + 10, left : left + 10] = 255
        label = CLASSES[number % 2]
        pixels[region > 0] = (220, 40, 40) if label == "red" else (40, 40, 220)
        image, mask = folder / f"{number}.png", folder / f"{number}-mask.png"
        Image.fromarray(pixels).save(image)
        Image.fromarray(region).save(mask)
        rows.append({"image": image, "region": mask, "label": label, "group": f"g{number // 2}"})
    return validate_manifest(pd.DataFrame(rows).astype(str))


@pytest.fixture(scope="session")
def result(squares: pd.DataFrame) -> AuditResult:
    """A real audit, without interventions."""
    torch.manual_seed(0)
    model = Classifier(
        build("resnet_small", TINY, 2).eval(),
        CLASSES,
        Preprocessing(size=(32, 32)),
        builder="resnet_small",
        builder_args=TINY,
    )
    return audit(
        model,
        squares,
        interventions=False,
        target_layer="stage2",
        seed=1,
        gallery_worst=5,
        gallery_sample=5,
    )


@pytest.fixture
def weights_of(store: str) -> Callable[[str], Path]:
    """The weights that `log_files` logged, where the store keeps them."""

    def find(model_uri: str) -> Path:
        model = MlflowClient(store).get_logged_model(model_uri.removeprefix("models:/"))
        return Path(unquote(model.artifact_location.removeprefix("file://"))) / "weights.bin"

    return find


@pytest.fixture
def log_files(store: str, run_id: str, tmp_path: Path) -> Callable[[str], tuple[str, str]]:
    """Logs a model of two files, in no time; returns its URI and digest."""

    def log(content: str) -> tuple[str, str]:
        folder = tmp_path / f"files-{content}"
        folder.mkdir()
        (folder / "MLmodel").write_text("flavors: {python_function: {loader_module: somebodys}}\n")
        (folder / "weights.bin").write_text(content)
        client = MlflowClient(store)
        experiment = client.get_run(run_id).info.experiment_id
        model = client.create_logged_model(experiment, name="model", source_run_id=run_id)
        client.log_model_artifacts(model.model_id, str(folder))
        client.finalize_logged_model(model.model_id, "READY")
        return f"models:/{model.model_id}", folder_digest(folder)

    return log


@pytest.fixture
def make_verdict() -> Callable[..., Verdict]:
    def make(
        status: str, model_digest: str, *, reason: str | None = None, waivers: dict[str, Any] | None = None
    ) -> Verdict:
        value = Status(status)
        return Verdict(
            status=value,
            reason=reason or ("ok" if value is Status.PASS else "above_limit"),
            sentence=f"{status}, said the test.",
            checks=(
                CheckResult(name="invalid_lift", status=value, reason="ok", message="A check.", value=0.25),
                CheckResult(name="background_gap", status=value, reason="ok", message="Not measured."),
            ),
            policy_digest=Policy.default().digest(),
            model_digest=model_digest,
            data_digest="d" * 64,
            settings={},
            waivers=WaiverTerms(**(waivers or {})),
        )

    return make


@pytest.fixture
def promote(store: str, run_id: str, make_verdict: Callable[..., Verdict]) -> Callable[..., Promotion]:
    """Promotes what `log_files` logged, as `underpass`."""

    def go(model: tuple[str, str], status: str = "PASS", **options: Any) -> Promotion:
        verdict = make_verdict(status, model[1]).model_copy(update=options.pop("verdict", {}))
        options = {"name": "underpass", "run_id": run_id, "tracking_uri": store} | options
        return register_and_promote(verdict, model_uri=model[0], **options)

    return go
