"""The pipelines on ZenML's Kubeflow orchestrator: they compile, in order, and what is sent is valid."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kfp_server_api
import pytest
import yaml
from google.protobuf.json_format import ParseDict
from kfp import components
from kfp.dsl import pipeline_task
from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec
from pipelines_cluster import DOCKER, IMAGE, Cluster, activate_stack, listening
from zenml.config.schedule import Schedule

from camgate.pipelines import audit_pipeline, dynamic_audit_pipeline, training_pipeline

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "kubeflow.yaml"
MODEL = {"data": "s3://pets/manifest.csv", "model": "models:/pets@champion"}
TRAINED = {"data": "s3://pets/manifest.csv", "model_name": "pets"}
STATIC = {"settings": DOCKER, "execution_mode": "continue_on_failure"}
SHARDS = {f"audit-shard-{number}" for number in range(8)}


@pytest.fixture
def cluster(stores: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    # At each variable of each step kfp reads the sources of all frames, for the name in an error message.
    monkeypatch.setattr(pipeline_task, "inspect", SimpleNamespace(stack=lambda: 2 * [4 * ["setting"]]))
    with listening() as server:
        activate_stack("kubeflow", {"kubeflow_hostname": server.url}, monkeypatch)
        yield server


def tasks_of(spec: dict[str, Any]) -> dict[str, set[str]]:
    """The steps before each step, of a specification that Kubeflow Pipelines can read."""
    ParseDict(spec, PipelineSpec())
    components.load_component_from_text(yaml.safe_dump(spec))
    for executor in spec["deploymentSpec"]["executors"].values():
        assert executor["container"]["image"] == IMAGE
    return {name: set(task.get("dependentTasks", ())) for name, task in spec["root"]["dag"]["tasks"].items()}


def all_before(tasks: dict[str, set[str]], name: str) -> set[str]:
    return tasks[name].union(*(all_before(tasks, each) for each in tasks[name]))


def test_the_static_pipelines_compile_and_promotion_waits_for_all(cluster: Cluster) -> None:
    training_pipeline.with_options(**STATIC)(**TRAINED)
    audit_pipeline.with_options(**STATIC)(**MODEL)
    training_pipeline.with_options(config_path=str(CONFIG))()
    training, audit, sharded = (body["pipeline_spec"] for body in cluster.bodies("runs"))
    tasks = tasks_of(training)
    assert all_before(tasks, "promote-model") == set(tasks) - {"promote-model", "enforce-verdict"}
    assert all_before(tasks_of(audit), "enforce-verdict") == {"load-data", "audit-heatmaps", "gate-promotion"}
    tasks = tasks_of(sharded)
    assert all_before(tasks, "promote-model") == set(tasks) - {"promote-model", "enforce-verdict"}
    assert set(tasks) >= SHARDS
    assert all({"load-data", "plan-shards"} == tasks[shard] for shard in SHARDS)
    assert tasks["merge-shards"] >= SHARDS
    executors = sharded["deploymentSpec"]["executors"]
    for name in tasks:
        asked = executors[f"exec-{name}"]["container"].get("resources", {})
        assert asked.get("cpuLimit") == (4.0 if name in SHARDS else None), name


def test_a_schedule_is_a_recurring_run(cluster: Cluster) -> None:
    # Kubeflow's cron has a field for seconds before the usual five.
    schedule = Schedule(name="nightly", cron_expression="0 17 3 * * *")
    audit_pipeline.with_options(schedule=schedule, **STATIC)(**MODEL, shards={"count": 2})
    (body,) = cluster.bodies("recurringruns")
    assert body["trigger"] == {"cron_schedule": {"cron": "0 17 3 * * *"}}
    assert (body["mode"], body["no_catchup"], body["max_concurrency"]) == ("ENABLE", True, 1)
    assert "audit-shard-1" in tasks_of(body["pipeline_spec"])
    kfp_server_api.V2beta1RecurringRun(**body)
    assert not cluster.bodies("runs")


def test_what_the_orchestrator_cannot_do_is_refused(cluster: Cluster) -> None:
    with pytest.raises(ValueError, match="Execution mode fail_fast is not supported"):
        audit_pipeline.with_options(settings=DOCKER)(**MODEL)
    with pytest.raises(RuntimeError, match="does not support dynamic pipelines"):
        dynamic_audit_pipeline.with_options(settings=DOCKER)(**MODEL)
    assert not cluster.posted
