"""The pipeline through kfp.local, each component a process, against the same audit as a ZenML pipeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Run
from pipelines_data import LENIENT, SIDE, STRICT, write_images

from camgate.audit.result import AuditResult
from camgate.data.preprocessing import Preprocessing
from camgate.gate.verdict import Status, Verdict
from camgate.kubeflow import run_locally
from camgate.models.builders import build
from camgate.models.classifier import Classifier
from camgate.pipelines import RunOutcome, run_audit

CHAMPION = {**STRICT, "checks": {**STRICT["checks"], "champion": {"max": 1.0, "max_accuracy_loss": 1.0}}}


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # two components at once
    torch.manual_seed(0)
    network, preprocessing = build("resnet_small", {}, 2), Preprocessing(size=(SIDE, SIDE))
    classifier = Classifier(network, ["blue", "red"], preprocessing, builder="resnet_small")
    return str(classifier.save(tmp_path / "classifier"))


def artifact(outputs: Path, component: str, name: str) -> Path:
    """An artifact of the newest local run."""
    return max(outputs.glob(f"*/*/*/{component}/{name}"), key=lambda path: path.stat().st_mtime)


def shown(outputs: Path, component: str) -> dict[str, float]:
    """The Metrics that KFP's interface shows for a component."""
    content = json.loads(artifact(outputs, component, "executor_output.json").read_text())
    return dict(content["artifacts"]["metrics"]["artifacts"][0]["metadata"])


def told(verdict: Verdict) -> dict[str, Any]:
    """The verdict without its time and without the name of the registered model, which is each one's own.

    KFP hands the policy on as a protobuf struct, which keeps no order: neither do the checks.
    """
    text = verdict.model_dump_json(exclude={"created"}).replace("champion of kfp", "champion of zenml")
    content = dict(json.loads(text))
    return content | {"checks": sorted(content["checks"], key=lambda check: check["name"])}


def same_as_zenml(outputs: Path, zenml: RunOutcome) -> Run:
    """The MLflow run of the newest local run, after verdict, scores and numbers were held against ZenML's."""
    client = MlflowClient()
    experiment = client.get_experiment_by_name("camgate")
    assert experiment is not None
    run = client.search_runs([experiment.experiment_id], order_by=["start_time DESC"])[0]
    wanted = client.get_run(zenml.mlflow_run_id)
    assert run.data.metrics == wanted.data.metrics
    assert {key: value for key, value in run.data.params.items() if key.startswith("audit.")} == {
        key: value for key, value in wanted.data.params.items() if key.startswith("audit.")
    }
    for name in ("camgate.model_digest", "camgate.data_digest", "camgate.policy_digest", "camgate.sentence"):
        assert run.data.tags[name] == wanted.data.tags[name]
    held = {file.path for part in ("audit", "gate") for file in client.list_artifacts(run.info.run_id, part)}
    assert held == {
        file.path for part in ("audit", "gate") for file in client.list_artifacts(zenml.mlflow_run_id, part)
    }
    result = AuditResult.load(artifact(outputs, "merge-audits", "audit"))
    pd.testing.assert_frame_equal(result.scores, zenml.result.scores)
    assert result.sanity == zenml.result.sanity
    folder = artifact(outputs, "promotion-gate", "verdict")
    verdict = Verdict.model_validate_json((folder / "verdict.json").read_text())
    assert told(verdict) == told(zenml.verdict)
    metrics = run.data.metrics
    assert shown(outputs, "merge-audits") == {
        key: value for key, value in metrics.items() if key.startswith("audit/")
    }
    assert shown(outputs, "promotion-gate") == {
        key: value for key, value in metrics.items() if key.startswith("gate/")
    }
    page = artifact(outputs, "promotion-gate", "report").read_text(encoding="utf-8")
    assert page == (folder / "report.html").read_text(encoding="utf-8")
    assert "data:image/" in page  # its pictures are in it
    assert not [word for word in ('src="http', 'href="http://', "<link ") if word in page]
    return run


@pytest.mark.parametrize("twice", [False, pytest.param(True, marks=pytest.mark.long)])
def test_verdict_scores_and_registry_are_those_of_the_zenml_run(
    stores: Path, saved: str, twice: bool
) -> None:
    """PASS moves the alias; then a stricter policy refuses the same model, and the run fails last."""
    squares, outputs, client = write_images(stores / "squares"), stores / "outputs", MlflowClient()
    options = {"data": str(squares), "model": "models:/zenml/1"}
    kfp = {**options, "shards": 2, "parts": str(stores / "parts"), "tracking_uri": client.tracking_uri}

    passed = run_audit(data=str(squares), model=saved, model_name="zenml", policy=LENIENT)
    run_locally(outputs, **kfp, model_name="kfp", policy=LENIENT)
    run = same_as_zenml(outputs, passed)
    assert run.info.status == "FINISHED"
    version = client.get_model_version_by_alias("kfp", "champion")
    assert (version.tags["validation_status"], version.tags["camgate.verdict"]) == ("approved", "PASS")
    assert version.tags["camgate.audit_run_id"] == run.info.run_id
    shards = sorted(stores.glob("parts/*/*.parquet"))
    assert len(shards) == 2
    made = [shard.stat().st_mtime_ns for shard in shards]
    if not twice:
        return

    blocked = run_audit(**options, policy=CHAMPION, model_name="zenml")
    assert blocked.verdict.status is Status.FAIL
    with pytest.raises(RuntimeError, match="FAILURE"):
        run_locally(outputs, **kfp, model_name="kfp", policy=CHAMPION)
    assert [shard.stat().st_mtime_ns for shard in shards] == made  # found, not made again
    run = same_as_zenml(outputs, blocked)
    assert run.info.status == "FAILED"
    promotion = json.loads(artifact(outputs, "promote-model", "promotion").read_text())
    assert (promotion["alias_moved"], promotion["version"]) == (False, 1)
    assert len(list(outputs.glob("*/*/*/enforce-verdict/executor_output.json"))) == 1  # of the first run
    version = client.get_model_version("kfp", str(promotion["version"]))
    assert version.tags["validation_status"] == "rejected"
    assert len([key for key in version.tags if key.startswith("camgate.attempt.")]) == 2
