"""The audit of a model that already exists: from a folder, from MLflow, and from somebody's own step."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import pandas as pd
import pytest
import torch
from mlflow import MlflowClient
from pipelines_data import AUDIT, LENIENT, SIDE, STRICT
from torch import nn
from zenml import pipeline, step
from zenml.client import Client
from zenml.enums import ModelStages

from camgate.data.preprocessing import Preprocessing
from camgate.data.sources import load_manifest
from camgate.errors import InputError, PromotionBlocked
from camgate.gate.verdict import Status
from camgate.models.builders import build
from camgate.models.classifier import Classifier
from camgate.pipelines import audit_pipeline, run_audit
from camgate.steps import audit_heatmaps, enforce_verdict, gate_promotion, promote_model


@pytest.fixture
def saved(tmp_path: Path) -> str:
    """Folder of a classifier: untrained, which is good enough to be audited."""
    torch.manual_seed(0)
    classifier = Classifier(
        build("resnet_small", {}, 2),
        ["blue", "red"],
        Preprocessing(size=(SIDE, SIDE)),
        builder="resnet_small",
    )
    return str(classifier.save(tmp_path / "classifier"))


def logged_models() -> int:
    client = MlflowClient()
    return len(client.search_logged_models([each.experiment_id for each in client.search_experiments()]))


@pytest.mark.usefixtures("stores")
def test_a_folder_is_logged_and_promoted_and_the_champion_is_audited_again_without_logging_it_twice(
    squares: Path, saved: str
) -> None:
    first = run_audit(data=str(squares), model=saved, model_name="squares", policy=LENIENT, audit=AUDIT)
    assert first.promotion is not None
    assert first.promotion.alias_moved
    assert first.evaluation is None
    assert first.result.model_uri is not None
    assert logged_models() == 1

    again = run_audit(data=str(squares), model="models:/squares@champion", policy=STRICT, audit=AUDIT)
    assert (again.status, again.verdict.status) == ("failed", Status.FAIL)
    assert again.promotion is None
    assert again.verdict.model_digest == first.verdict.model_digest
    assert logged_models() == 1
    client = MlflowClient()
    assert len(client.search_model_versions("name = 'squares'")) == 1
    assert client.get_run(again.mlflow_run_id).info.status == "FAILED"


@pytest.mark.usefixtures("stores")
def test_a_policy_that_requires_a_drill_gets_one_of_the_logged_model(squares: Path, saved: str) -> None:
    policy = {**LENIENT, "require_drill": True, "drill": {"min_mutants": 40}}
    run = run_audit(data=str(squares), model=saved, policy=policy, audit=AUDIT, drill={"minutes": 1e-4})
    check = run.verdict.check("drill")
    assert check is not None
    assert (check.status, check.reason) == (Status.INCONCLUSIVE, "too_few_mutants")
    drill = Client().get_artifact_version("drill").load()
    assert drill.model_digest == run.result.model_digest
    assert len(drill.mutants) == 1
    client = MlflowClient()
    assert client.get_run(run.mlflow_run_id).data.metrics["drill/mutants"] == 1.0
    names = {file.path for file in client.list_artifacts(run.mlflow_run_id, "audit")}
    assert {"audit/drill.json", "audit/report.html"} <= names
    page = Path(client.download_artifacts(run.mlflow_run_id, "audit/report.html")).read_text(encoding="utf-8")
    assert "does this gate see planted shortcuts?" in page


@pytest.mark.usefixtures("stores")
def test_called_directly_it_raises_or_warns_as_the_policy_says(squares: Path, saved: str) -> None:
    options = {"data": str(squares), "model": saved, "model_name": "squares", "audit": AUDIT}
    with pytest.raises(PromotionBlocked, match=r"^Blocked: "):
        audit_pipeline(policy=STRICT, **options)
    assert {run.status.value for run in Client().list_pipeline_runs().items} == {"failed"}

    run = audit_pipeline(policy={**STRICT, "on_block": "warn"}, **options)
    assert run.status.value == "completed"
    assert run.steps["enforce_verdict"].outputs["status"][0].load() == "FAIL"
    runs = MlflowClient().search_runs(
        [each.experiment_id for each in MlflowClient().search_experiments()], order_by=["start_time ASC"]
    )
    assert [each.info.status for each in runs] == ["FAILED", "FINISHED"]
    versions = MlflowClient().search_model_versions("name = 'squares'")
    assert {each.tags["validation_status"] for each in versions} == {"rejected"}


@pipeline
def comparison(data: str, candidate: str, champion: str) -> None:
    manifest = own_manifest(data)
    audits = [audit_heatmaps(manifest=manifest, source=each, **AUDIT) for each in (champion, candidate)]
    verdict = gate_promotion(result=audits[1], policy=STRICT, champion=audits[0])
    promote_model(verdict=verdict, result=audits[1], name="squares")


@pytest.mark.usefixtures("stores")
def test_candidate_and_champion_are_audited_in_one_pipeline_run(
    squares: Path, saved: str, tmp_path: Path
) -> None:
    other = Classifier.load(saved)
    with torch.no_grad():
        next(other.module.parameters()).mul_(1.5)
    comparison(data=str(squares), candidate=saved, champion=str(other.save(tmp_path / "other")))
    client = MlflowClient()
    runs = client.search_runs([client.get_experiment_by_name("comparison").experiment_id])
    below = [run for run in runs if "mlflow.parentRunId" in run.data.tags]  # whichever came second
    assert (len(runs), len(below)) == (2, 1)
    (judged,) = (run for run in runs if "camgate.verdict" in run.data.tags)
    version = client.get_model_version("squares", "1")
    assert version.tags["camgate.audit_run_id"] == judged.info.run_id
    assert version.source == judged.data.tags["camgate.model_uri"]
    assert len({run.data.tags["camgate.model_digest"] for run in runs}) == 2


@step
def own_manifest(data: str) -> Annotated[pd.DataFrame, "own_manifest"]:
    return load_manifest(data)


@step
def own_training() -> Annotated[nn.Module, "own_model"]:
    torch.manual_seed(0)
    return build("resnet_small", {}, 2)


@pipeline
def own_pipeline(data: str, builder: str | None) -> None:
    manifest = own_manifest(data)
    result = audit_heatmaps(
        manifest=manifest,
        model=own_training(),
        classes=["blue", "red"],
        preprocessing=Preprocessing(size=(SIDE, SIDE)),
        builder=builder,
        policy=LENIENT,
        **AUDIT,
    )
    verdict = gate_promotion(result=result, policy=LENIENT)
    promotion = promote_model(verdict=verdict, result=result, name="own") if builder else None
    enforce_verdict(verdict=verdict, promotion=promotion)


@pytest.mark.usefixtures("stores")
def test_somebodys_plain_module_is_logged_where_its_builder_is_named(squares: Path) -> None:
    from zenml import Model

    own_pipeline.with_options(model=Model(name="own_in_zenml"))(str(squares), "resnet_small")
    version = MlflowClient().get_model_version_by_alias("own", "champion")
    assert version.tags["validation_status"] == "approved"
    mirror = Client().get_model_version("own_in_zenml", ModelStages.PRODUCTION)
    assert mirror.number == 1


@pytest.mark.usefixtures("stores")
def test_zenml_only_mirrors_the_champion(
    squares: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its model control plane may fail: MLflow decides."""
    from zenml import Model

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no control plane today")

    monkeypatch.setattr(Model, "set_stage", broken)
    with caplog.at_level(logging.WARNING):
        run = own_pipeline.with_options(model=Model(name="own_in_zenml"))(str(squares), "resnet_small")
    assert run.status.value == "completed"
    assert "could not follow MLflow's alias: no control plane today" in caplog.text
    assert MlflowClient().get_model_version_by_alias("own", "champion").version == 1


@pytest.mark.usefixtures("stores")
def test_somebodys_plain_module_without_builder_is_audited_all_the_same(
    squares: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        run = own_pipeline(str(squares), None)
    assert "audited without being logged" in caplog.text
    assert run.steps["gate_promotion"].outputs["verdict"][0].load().status is Status.PASS
    result = run.steps["audit_heatmaps"].outputs["audit"][0].load()
    assert result.model_uri is None
    assert logged_models() == 0
    with pytest.raises(InputError, match="not in MLflow"):
        promote_model.entrypoint(run.steps["gate_promotion"].outputs["verdict"][0].load(), result, "own")


@pytest.mark.usefixtures("stores")
def test_wrong_use_of_the_audit_step_says_what_to_give(squares: Path, saved: str) -> None:
    manifest = load_manifest(squares)
    module = build("resnet_small", {}, 2)
    with pytest.raises(InputError, match="either `model`"):
        audit_heatmaps.entrypoint(manifest)
    with pytest.raises(InputError, match="either `model`"):
        audit_heatmaps.entrypoint(manifest, model=module, source=saved)
    with pytest.raises(InputError, match="`classes`"):
        audit_heatmaps.entrypoint(manifest, model=module)
