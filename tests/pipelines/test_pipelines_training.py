"""The training pipeline, for real: ZenML's store, MLflow's store, a network that is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from PIL import Image
from pipelines_data import AUDIT, LENIENT, STRICT, TRAINING
from zenml.client import Client
from zenml.models import PipelineRunResponse

from camgate.data.preprocessing import Preprocessing
from camgate.errors import ManifestError
from camgate.gate.verdict import Status
from camgate.pipelines import RunOutcome, run_training
from camgate.steps import load_data, train_model


def train(data: Path, policy: dict[str, Any], **options: Any) -> RunOutcome:
    return run_training(
        data=str(data), policy=policy, model_name="squares", training=TRAINING, audit=AUDIT, **options
    )


def last_run() -> PipelineRunResponse:
    return Client().list_pipeline_runs(sort_by="desc:created", size=1, hydrate=True).items[0]


def statuses(run: PipelineRunResponse) -> dict[str, str]:
    return {name: step.status.value for name, step in run.steps.items()}


def artifact_paths(client: MlflowClient, run_id: str, folder: str = "") -> set[str]:
    found = set()
    for entry in client.list_artifacts(run_id, folder or None):
        found |= artifact_paths(client, run_id, entry.path) if entry.is_dir else {entry.path}
    return found


@pytest.mark.usefixtures("stores")
def test_a_model_that_passes_becomes_champion_and_everything_is_in_one_mlflow_run(squares: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    outcome = train(squares, LENIENT, progress=lambda *report: seen.append(report))

    assert outcome.status == "completed"
    assert outcome.verdict.status is Status.PASS
    assert outcome.promotion is not None
    assert outcome.promotion.alias_moved
    assert outcome.evaluation is not None
    assert ("training", 3, 3) in seen
    assert {"training", "heatmaps"} <= {stage for stage, _, _ in seen}

    client = MlflowClient()
    champion = client.get_model_version_by_alias("squares", "champion")
    assert champion.tags["validation_status"] == "approved"
    assert champion.tags["camgate.verdict"] == "PASS"
    assert (
        champion.tags["camgate.model_digest"] == outcome.verdict.model_digest == outcome.result.model_digest
    )
    assert champion.tags["camgate.audit_run_id"] == outcome.mlflow_run_id

    experiment = client.get_experiment_by_name("camgate_training")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_id == outcome.mlflow_run_id
    assert run.info.status == "FINISHED"
    assert run.data.metrics["evaluation/accuracy"] == pytest.approx(outcome.evaluation.accuracy)
    assert {"audit/invalid_activation_mean", "audit/background_gap", "audit/n"} <= set(run.data.metrics)
    assert run.data.params["training.builder"] == "resnet_small"
    assert {entry.dataset.name for entry in run.inputs.dataset_inputs} == {"manifest", "audited"}
    assert {
        "gate/policy.yaml",
        "gate/verdict.json",
        "audit/report.html",
        "audit/audit.json",
        "audit/scores.parquet",
    } <= artifact_paths(client, run.info.run_id)


@pytest.mark.usefixtures("stores")
def test_a_blocked_run_fails_last_of_all_with_all_evidence_kept(squares: Path) -> None:
    outcome = train(squares, STRICT)

    assert outcome.status == "failed"
    assert outcome.verdict.status is Status.FAIL
    assert outcome.promotion is not None
    assert not outcome.promotion.alias_moved
    assert sum(item.kind != "cluster" for item in outcome.result.gallery) == 6

    run = Client().get_pipeline_run(outcome.pipeline_run_id)
    assert statuses(run) == {
        "load_data": "completed",
        "train_model": "completed",
        "evaluate_model": "completed",
        "audit_heatmaps": "completed",
        "gate_promotion": "completed",
        "promote_model": "completed",
        "enforce_verdict": "failed",
    }
    assert "report" in run.steps["gate_promotion"].outputs

    client = MlflowClient()
    (version,) = client.search_model_versions("name = 'squares'")
    assert version.tags["validation_status"] == "rejected"
    assert version.tags["camgate.verdict"] == "FAIL"
    with pytest.raises(MlflowException):
        client.get_model_version_by_alias("squares", "champion")
    assert client.get_run(outcome.mlflow_run_id).info.status == "FAILED"
    assert "gate/verdict.json" in artifact_paths(client, outcome.mlflow_run_id)


@pytest.mark.usefixtures("stores")
def test_cache_sees_the_data_and_never_skips_audit_gate_and_promotion(squares: Path) -> None:
    first = train(squares, LENIENT)
    again = train(squares, LENIENT)
    steps = statuses(Client().get_pipeline_run(again.pipeline_run_id))
    assert {name for name, status in steps.items() if status == "cached"} == {"load_data", "train_model"}
    assert again.result.model_digest == first.result.model_digest
    assert again.mlflow_run_id != first.mlflow_run_id
    # The second run's record is whole, although training came from the cache.
    assert MlflowClient().get_run(again.mlflow_run_id).data.params["training.builder"] == "resnet_small"

    picture = squares.parent / "images" / "train-red-000.png"
    Image.new("RGB", (32, 32), (90, 90, 90)).save(picture)
    changed = train(squares, LENIENT)
    steps = statuses(Client().get_pipeline_run(changed.pipeline_run_id))
    assert "cached" not in steps.values()


@pytest.mark.usefixtures("stores")
def test_a_broken_step_stops_the_run_before_anything_is_registered(squares: Path) -> None:
    (squares.parent / "images" / "test-red-000.png").unlink()
    with pytest.raises(ManifestError, match=r"test-red-000\.png"):
        train(squares, LENIENT)
    assert statuses(last_run()) == {"load_data": "failed"}
    assert not MlflowClient().search_registered_models()


def test_the_training_step_takes_the_options_of_transfer_learning(squares: Path, tmp_path: Path) -> None:
    manifest = load_data.entrypoint(str(squares))
    first, _, _ = train_model.entrypoint(
        manifest, **{**TRAINING, "preprocessing": Preprocessing(size=(32, 32))}
    )
    weights = first.save(tmp_path / "first") / "model.safetensors"
    classifier, history, parameters = train_model.entrypoint(
        manifest,
        epochs=1,
        batch_size=16,
        preprocessing=Preprocessing(size=(32, 32)),
        weights=str(weights),
        frozen_epochs=2,
        augmented_copies=1,
        head_learning_rate=0.02,
        backbone_rate=0.5,
    )
    assert history["phase"].tolist() == ["frozen backbone"] * 2 + ["fine-tuning"]
    wanted = {"frozen_epochs": 2, "augmented_copies": 1, "head_learning_rate": 0.02, "backbone_rate": 0.5}
    assert wanted.items() <= parameters.items()
    assert classifier.classes == ("blue", "red")
