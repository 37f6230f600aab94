"""With an MLflow experiment tracker in the stack: its server is used, and its run where it opened one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
from mlflow import MlflowClient
from pipelines_data import AUDIT, LENIENT, SIDE
from zenml.client import Client
from zenml.enums import StackComponentType

from camgate import demo
from camgate.data.preprocessing import Preprocessing
from camgate.demo_stores import configured_stores
from camgate.errors import InputError
from camgate.models.builders import build
from camgate.models.classifier import Classifier
from camgate.pipelines import run_audit
from camgate.steps._tracking import stack_tracker, tracked


@pytest.fixture
def tracker(stores: Path, migrated_stores: Path) -> str:
    """URI of a tracker that is part of the active stack, and is not MLflow's default."""
    uri = f"sqlite:///{stores / 'tracker.db'}"
    (stores / "tracker.db").write_bytes((migrated_stores / "mlflow.db").read_bytes())
    client = Client()
    client.create_stack_component(
        name="mlflow_tracker",
        flavor="mlflow",
        component_type=StackComponentType.EXPERIMENT_TRACKER,
        configuration={"tracking_uri": uri, "tracking_username": "someone", "tracking_password": "secret"},
    )
    client.create_stack(
        name="tracked",
        components={
            StackComponentType.ORCHESTRATOR: "default",
            StackComponentType.ARTIFACT_STORE: "default",
            StackComponentType.EXPERIMENT_TRACKER: "mlflow_tracker",
        },
    )
    client.activate_stack("tracked")
    return uri


def runs(uri: str) -> list[Any]:
    client = MlflowClient(uri)
    return list(client.search_runs([each.experiment_id for each in client.search_experiments()]))


@pytest.mark.parametrize("opened_by_zenml", [False, True])
def test_everything_is_in_one_run_of_the_tracker(
    squares: Path, tmp_path: Path, tracker: str, opened_by_zenml: bool
) -> None:
    torch.manual_seed(0)
    module = build("resnet_small", {}, 2)
    model = Classifier(module, ["blue", "red"], Preprocessing(size=(SIDE, SIDE)), builder="resnet_small")
    steps = ("audit_heatmaps", "gate_promotion", "promote_model", "enforce_verdict")
    outcome = run_audit(
        data=str(squares),
        model=str(model.save(tmp_path / "classifier")),
        model_name="squares",
        policy=LENIENT,
        audit=AUDIT,
        settings={"steps": {name: {"experiment_tracker": "mlflow_tracker"} for name in steps}}
        if opened_by_zenml
        else None,
    )
    (run,) = runs(tracker)
    assert run.info.run_id == outcome.mlflow_run_id
    assert run.info.status == "FINISHED"
    assert run.data.tags["camgate.verdict"] == "PASS"
    assert ("zenml" in run.data.tags) is opened_by_zenml
    assert {"audit/n", "audit/background_gap"} <= set(run.data.metrics)
    assert MlflowClient(tracker).get_model_version_by_alias("squares", "champion").run_id == run.info.run_id
    assert not runs(f"sqlite:///{tmp_path / 'mlflow.db'}")


def test_parallel_shards_log_to_the_tracker_s_one_run(squares: Path, tmp_path: Path, tracker: str) -> None:
    """The steps around them have the tracker. On parallel ones it breaks: it resets the process' URI."""
    torch.manual_seed(0)
    module = build("resnet_small", {}, 2)
    model = Classifier(module, ["blue", "red"], Preprocessing(size=(SIDE, SIDE)), builder="resnet_small")
    steps = ("plan_shards", "merge_shards", "gate_promotion", "enforce_verdict")
    outcome = run_audit(
        data=str(squares),
        model=str(model.save(tmp_path / "classifier")),
        policy=LENIENT,
        audit=AUDIT,
        shards={"count": 2, "how": "dynamic"},
        settings={"steps": {name: {"experiment_tracker": "mlflow_tracker"} for name in steps}},
    )
    assert outcome.status == "completed"
    (run,) = runs(tracker)
    assert run.info.run_id == outcome.mlflow_run_id
    assert run.info.status == "FINISHED"
    assert {"audit/n", "audit/background_gap"} <= set(run.data.metrics)
    assert run.data.tags["camgate.verdict"] == "PASS"
    assert not runs(f"sqlite:///{tmp_path / 'mlflow.db'}")


def test_credentials_of_the_tracker_reach_mlflow_only_while_a_step_logs(tracker: str) -> None:
    assert stack_tracker() == (
        tracker,
        {"MLFLOW_TRACKING_USERNAME": "someone", "MLFLOW_TRACKING_PASSWORD": "secret"},
    )
    with tracked("anything") as run:
        assert run.uri == tracker
        assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "secret"
    assert "MLFLOW_TRACKING_PASSWORD" not in os.environ
    assert mlflow.active_run() is None


@pytest.mark.usefixtures("stores")
def test_without_a_tracker_mlflow_decides() -> None:
    assert stack_tracker() == (None, {})


@pytest.mark.usefixtures("stores")
def test_a_step_that_fails_leaves_its_run_failed_not_open() -> None:
    with pytest.raises(ZeroDivisionError), tracked("anything") as run:
        _ = 1 / 0
    assert MlflowClient().get_run(run.run_id).info.status == "FAILED"


@pytest.mark.long
def test_the_demo_runs_on_the_active_stack(
    tracker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ZENML_LOGGING_VERBOSITY", "ZENML_ENABLE_RICH_TRACEBACK", "ZENML_ANALYTICS_OPT_IN"):
        monkeypatch.setenv(name, os.environ.get(name, "false"))  # put back afterwards
    monkeypatch.setattr(demo, "PER_CLASS", {"train": 16, "test": 10})
    monkeypatch.setattr(demo, "EPOCHS", 1)
    rows = demo.run_demo(tmp_path / "work", stack=True, as_json=True)
    assert {run.info.run_id for run in runs(tracker)} == {row["mlflow_run_id"] for row in rows}
    assert runs(os.environ["MLFLOW_TRACKING_URI"]) == []
    assert Client().list_pipeline_runs().total == 2
    assert {path.name for path in (tmp_path / "work").iterdir()} == {"audits", "data"}


def test_the_demo_needs_an_mlflow_on_the_stack(stores: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = configured_stores()
    assert where["MLflow"] == os.environ["MLFLOW_TRACKING_URI"]
    assert where["ZenML"].endswith("stack default")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with pytest.raises(InputError, match="MLFLOW_TRACKING_URI is not set"):
        configured_stores()


def test_passwords_of_the_servers_are_not_shown(stores: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    assert configured_stores()["MLflow"] == "http://***@127.0.0.1:9"
