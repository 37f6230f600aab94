"""Audits in shards, as a static and as a dynamic pipeline: the same audit as in one step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from mlflow import MlflowClient
from pipelines_data import AUDIT, LENIENT, SIDE

from camgate.audit.result import AuditResult
from camgate.data.preprocessing import Preprocessing
from camgate.models.builders import build
from camgate.models.classifier import Classifier
from camgate.pipelines import RunOutcome, run_audit

WAYS = ("static", "dynamic")


@pytest.fixture
def saved(tmp_path: Path) -> str:
    torch.manual_seed(0)
    classifier = Classifier(
        build("resnet_small", {}, 2),
        ["blue", "red"],
        Preprocessing(size=(SIDE, SIDE)),
        builder="resnet_small",
    )
    return str(classifier.save(tmp_path / "classifier"))


def in_mlflow(outcome: RunOutcome) -> dict[str, Any]:
    """What a run holds in MLflow, without what belongs to this one run."""
    client = MlflowClient()
    run = client.get_run(outcome.mlflow_run_id)
    folders = ("audit", "gate")
    return {
        "status": run.info.status,
        "params": {name: value for name, value in run.data.params.items() if name != "camgate.audit"},
        "metrics": run.data.metrics,
        "files": sorted(
            file.path for each in folders for file in client.list_artifacts(run.info.run_id, each)
        ),
        "datasets": [each.dataset.digest for each in run.inputs.dataset_inputs],
    }


def same_audit(one: AuditResult, other: AuditResult) -> None:
    pd.testing.assert_frame_equal(one.scores, other.scores, check_dtype=False, atol=1e-5, rtol=0)
    assert (one.settings, one.model_digest, one.data_digest) == (
        other.settings,
        other.model_digest,
        other.data_digest,
    )
    assert one.model_uri == other.model_uri
    assert one.baselines == pytest.approx(other.baselines, abs=1e-6)
    assert one.interventions is not None
    assert other.interventions is not None
    pd.testing.assert_frame_equal(one.interventions, other.interventions, atol=1e-5, rtol=0)


@pytest.mark.usefixtures("stores")
def test_shards_give_the_same_audit_verdict_and_evidence_as_one_step(squares: Path, saved: str) -> None:
    first = run_audit(data=str(squares), model=saved, model_name="squares", policy=LENIENT, audit=AUDIT)
    assert first.promotion is not None
    source = {"data": str(squares), "model": "models:/squares@champion", "policy": LENIENT, "audit": AUDIT}
    whole = run_audit(**source)
    for how in WAYS:
        parts = run_audit(**source, shards={"count": 3, "how": how})
        same_audit(parts.result, whole.result)
        assert (parts.status, parts.verdict.status) == ("completed", whole.verdict.status)
        assert [check.reason for check in parts.verdict.checks] == [
            check.reason for check in whole.verdict.checks
        ]
        evidence, expected = in_mlflow(parts), in_mlflow(whole)
        assert evidence.pop("metrics") == pytest.approx(expected.pop("metrics"), abs=1e-5, nan_ok=True)
        assert evidence == expected
