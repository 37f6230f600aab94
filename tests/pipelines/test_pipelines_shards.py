"""Audits in shards, as static and as dynamic pipelines: the same audit as in one step, and their options."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from mlflow import MlflowClient
from pipelines_data import AUDIT, LENIENT, SIDE
from zenml.client import Client

from camgate.audit.result import AuditResult
from camgate.data.preprocessing import Preprocessing
from camgate.errors import InputError, ModelError
from camgate.models.builders import build
from camgate.models.classifier import Classifier
from camgate.pipelines import (
    RunOutcome,
    audit_pipeline,
    dynamic_audit_pipeline,
    run_audit,
    run_monitoring,
    run_retraining,
    run_training,
)
from camgate.steps import audit_shard, load_data, merge_shards, plan_shards

WAYS = ("static", "dynamic")


def save_classifier(folder: Path, *, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    module = build("resnet_small", {}, 2)
    preprocessing = Preprocessing(size=(SIDE, SIDE))
    return Classifier(module, ["blue", "red"], preprocessing, builder="resnet_small").save(folder)


@pytest.fixture
def saved(tmp_path: Path) -> str:
    return str(save_classifier(tmp_path / "classifier"))


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


REFUSED = [
    ({"cuont": 2}, None, "shards: count: Field required; cuont: .*the keys are count, how and step"),
    ({"count": 0}, None, "shards: count: .*greater than or equal to 1"),
    ({"count": 2, "how": "parallel"}, None, "shards: how: .*'static' or 'dynamic'"),
    ({"count": 2, "how": "dynamic", "step": {"retry": 1}}, None, "steps: {audit_shard: "),
    ({"count": 2, "step": {"setings": {}}}, None, "shards: step: .*'setings'"),
    ({"count": 2}, {"metod": "gradcam"}, "options of the audit: metod: .*did you mean 'method'"),
    (None, {"metod": "gradcam"}, "options of the audit: metod: .*did you mean 'method'"),
    ({"count": 2, "how": "dynamic"}, {"tolerance": "wide"}, "options of the audit: tolerance: "),
]


@pytest.mark.usefixtures("stores")
def test_options_that_cannot_be_used_are_refused_before_anything_runs() -> None:
    for shards, audit, words in REFUSED:
        with pytest.raises(InputError, match=words):
            run_audit(data="nowhere.csv", model="models:/a@champion", shards=shards, audit=audit)
        with pytest.raises(InputError, match=words):
            run_training(data="nowhere.csv", shards=shards, audit=audit)
    with pytest.raises(InputError, match="`how: static` in a dynamic pipeline"):
        run_retraining(data="nowhere.csv", shards={"count": 2})
    with pytest.raises(InputError, match="`how: dynamic` in a static pipeline"):
        audit_pipeline(data="nowhere.csv", model="models:/a@b", shards={"count": 2, "how": "dynamic"})
    with pytest.raises(InputError, match="did you mean 'method'"):
        run_retraining(data="nowhere.csv", audit={"metod": "gradcam"})
    with pytest.raises(InputError, match="did you mean 'method'"):
        run_monitoring(data="nowhere.csv", model_name="squares", audit={"metod": "gradcam"})
    assert not Client().list_run_steps().total


@pytest.mark.usefixtures("stores")
@pytest.mark.parametrize(
    ("run", "model", "name"),
    [
        (run_audit, {"model": "models:/squares@champion"}, "camgate_audit"),
        (run_training, {"model_name": "squares"}, "camgate_training"),
    ],
)
def test_the_run_configuration_chooses_the_kind_of_pipeline(
    tmp_path: Path, run: Any, model: dict[str, str], name: str
) -> None:
    chosen = {
        name: {"count": 2, "how": "static", "step": {"retry": {"max_retries": 1}}},
        f"{name}_dynamic": {"count": 2, "how": "dynamic"},
    }
    for pipeline, shards in chosen.items():
        configuration = {"parameters": {"data": "nowhere.csv", "shards": shards, **model}}
        (tmp_path / "run.yaml").write_text(yaml.safe_dump(configuration), encoding="utf-8")
        with pytest.raises(InputError, match=r"nowhere\.csv"):  # the first step of either
            run(config_path=tmp_path / "run.yaml")
        newest = Client().list_pipeline_runs(sort_by="desc:created", size=1, hydrate=True).items[0]
        assert newest.pipeline is not None
        assert newest.pipeline.name == pipeline


@pytest.mark.usefixtures("stores")
def test_resources_and_images_reach_the_shards_alone() -> None:
    asked = {"resources": {"cpu_count": 4, "memory": "8GB"}, "docker": {"parent_image": "big:1"}}
    parameters = {"data": "nowhere.csv", "model": "models:/squares@champion"}
    static = audit_pipeline.with_options(settings={"docker": {"parent_image": "small:1"}})
    static.prepare(**parameters, shards={"count": 2, "step": {"settings": asked}})
    dynamic = dynamic_audit_pipeline.with_options(
        settings={"docker": {"parent_image": "small:1"}}, steps={"audit_shard": {"settings": asked}}
    )
    dynamic.prepare(**parameters, shards={"count": 2, "how": "dynamic"})
    for pipeline, shards in (static, {"audit_shard_0", "audit_shard_1"}), (dynamic, {"audit_shard"}):
        steps = pipeline.create_snapshot(name=pipeline.name).step_configurations
        assert shards < set(steps)
        for name, step in steps.items():
            resources = step.config.resource_settings
            found = (resources.cpu_count, resources.memory, step.config.docker_settings.parent_image)
            assert found == ((4, "8GB", "big:1") if name in shards else (None, None, "small:1")), name


@pytest.mark.usefixtures("stores")
def test_a_model_that_changed_since_the_plan_is_refused(squares: Path, saved: str, tmp_path: Path) -> None:
    manifest = load_data.entrypoint(data=str(squares))
    plan, numbers = plan_shards.entrypoint(shards=2, source=saved, policy=LENIENT, options=AUDIT)
    assert numbers == [0, 1]
    shard = audit_shard.entrypoint(manifest=manifest, plan=plan, shard=0)
    (place,) = Path("mlruns").rglob("*.safetensors")
    shutil.copytree(save_classifier(tmp_path / "other", seed=1), place.parent, dirs_exist_ok=True)
    with pytest.raises(ModelError, match="files have changed since the audit was planned"):
        audit_shard.entrypoint(manifest=manifest, plan=plan, shard=1)
    with pytest.raises(ModelError, match="files have changed since the audit was planned"):
        merge_shards.entrypoint(manifest=manifest, plan=plan, finished=[shard])
