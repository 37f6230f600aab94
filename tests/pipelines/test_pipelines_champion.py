"""Candidate against the champion of the registry, in the ready-made pipeline."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient
from pipelines_data import AUDIT, LENIENT, SIDE, TRAINING, write_images
from zenml.client import Client

from camgate.data.preprocessing import Preprocessing
from camgate.errors import PromotionBlocked
from camgate.gate.measure import NoRival
from camgate.gate.verdict import CheckResult, Status
from camgate.models.builders import build
from camgate.models.classifier import Classifier
from camgate.pipelines import RunOutcome, run_audit, run_training
from camgate.registry import times
from camgate.registry.champion import Rival
from camgate.registry.pinning import pin_policy
from camgate.registry.signing import SIGNING_KEY, TRUSTED_KEYS, make_keys
from camgate.registry.waiving import waive
from camgate.steps import verify_model
from camgate.steps.champion import champion_options

TERMS = {
    **LENIENT,
    "checks": {"invalid_activation": {"max": 1.0}, "champion": {"max": 1.0, "max_accuracy_loss": 1.0}},
}


def saved(folder: Path, seed: int) -> str:
    torch.manual_seed(seed)
    network = build("resnet_small", {}, 2)
    preprocessing = Preprocessing(size=(SIDE, SIDE))
    return str(Classifier(network, ["blue", "red"], preprocessing, builder="resnet_small").save(folder))


def champion_check(run: RunOutcome) -> CheckResult:
    check = run.verdict.check("champion")
    assert check is not None
    return check


def audits(run: RunOutcome) -> int:
    """MLflow runs with an audit below the run of the candidate."""
    client = MlflowClient()
    experiment = client.get_run(run.mlflow_run_id).info.experiment_id
    below = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{run.mlflow_run_id}'")
    return sum("audit.method" in each.data.params for each in below)


@pytest.mark.usefixtures("stores")
def test_the_champion_is_compared_and_audited_where_it_was_not(squares: Path, tmp_path: Path) -> None:
    """First there is none, then its audit is found, then a training comes with other images."""
    options = {"model_name": "squares", "policy": TERMS, "audit": AUDIT}
    first = run_audit(data=str(squares), model=saved(tmp_path / "one", 1), **options)
    assert (champion_check(first).status, champion_check(first).reason) == (Status.PASS, "no_champion")
    assert first.promotion is not None
    assert (first.promotion.version, first.promotion.alias_moved) == (1, True)

    second = run_audit(data=str(squares), model=saved(tmp_path / "two", 2), **options)
    assert champion_check(second).value is not None
    assert audits(second) == 0  # the audit that promoted version 1 is there
    assert second.promotion is not None
    assert (second.promotion.previous, second.promotion.alias_moved) == (1, True)
    assert MlflowClient().get_run(second.mlflow_run_id).data.tags["camgate.champion"] == "squares/1"

    others = write_images(tmp_path / "others", test=12, seed=7)
    third = run_training(data=str(others), training=TRAINING | {"epochs": 1}, **options)
    assert champion_check(third).value is not None
    assert audits(third) == 1
    rival = Client().get_artifact_version("champion").load()
    assert isinstance(rival, Rival)
    assert rival.version == 2
    assert not isinstance(rival.audit, NoRival)
    assert rival.audit.data_digest == third.result.data_digest != second.result.data_digest
    assert rival.audit.model_digest == second.result.model_digest


@pytest.mark.usefixtures("stores")
def test_without_a_registered_model_nobody_looks_for_its_champion(squares: Path, tmp_path: Path) -> None:
    run = run_audit(data=str(squares), model=saved(tmp_path / "one", 1), policy=TERMS, audit=AUDIT)
    assert (run.verdict.status, champion_check(run).reason) == (Status.ERROR, "not_measured")


def test_options_of_the_candidates_audit_that_hold_for_the_champions() -> None:
    given = {"allow_code": True, "method": "gradcam", "classes": ["a"], "batch_size": 4}
    assert champion_options(given, {"batch_size": 8, "classes": ["b"]}) == {
        "allow_code": True,
        "batch_size": 8,
        "classes": ["b"],
    }
    assert champion_options(None) == {}


@pytest.mark.usefixtures("stores")
def test_what_the_pipeline_promoted_is_proven_by_a_step_that_only_reads(
    squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, public, _ = make_keys(tmp_path / "key")
    monkeypatch.setenv(SIGNING_KEY, str(private))
    run = run_audit(
        data=str(squares), model=saved(tmp_path / "one", 1), model_name="proven", policy=LENIENT, audit=AUDIT
    )
    client, uri = MlflowClient(), "models:/proven@champion"
    files = [each.path for each in client.list_artifacts(run.mlflow_run_id, "gate")]
    assert "gate/attestation.json" in files
    runs = [each.experiment_id for each in client.search_experiments()]
    before = len(client.search_runs(runs))
    with pytest.raises(PromotionBlocked, match=r"models:/proven/1 is not proven \(INCONCLUSIVE\)"):
        verify_model.entrypoint(uri, keys=[str(public)])  # no policy is pinned
    pin_policy("proven", LENIENT)
    assert verify_model.entrypoint(uri, keys=[str(public)]) == "models:/proven/1"
    assert len(client.search_runs(runs)) == before


@pytest.mark.usefixtures("stores")
def test_a_waived_model_is_promoted_by_the_next_run_which_says_so(
    squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, public, _ = make_keys(tmp_path / "key")
    monkeypatch.setenv(SIGNING_KEY, str(private))
    monkeypatch.setenv(TRUSTED_KEYS, str(public))
    policy = LENIENT | {"checks": {"accuracy": {"min": 0.999}}, "waivers": {"allowed": True}}
    options = {"model_name": "waived", "policy": policy, "audit": AUDIT, "data": str(squares)}
    first = run_audit(model=saved(tmp_path / "one", 1), **options)
    assert (first.status, first.verdict.status) == ("failed", Status.FAIL)
    until = times.now() + timedelta(days=2)
    waive("models:/waived/1", person="Ada", reason="a pilot", checks=["accuracy"], until=until)
    second = run_audit(model="models:/waived/1", **options)
    assert second.promotion is not None
    assert (second.status, second.promotion.status, second.promotion.version) == ("completed", "waived", 1)
    page = Path(MlflowClient().download_artifacts(second.mlflow_run_id, "audit/report.html", str(tmp_path)))
    text = page.read_text(encoding="utf-8")
    assert "<strong>Waived.</strong> Ada accepts the FAIL of accuracy" in text
    assert text.count('<th scope="row">20') == 2, "both attempts"
    pin_policy("waived", policy)
    assert verify_model.entrypoint("models:/waived@champion") == "models:/waived/1"
