"""The pipelines on ZenML's Kubernetes orchestrator: what is sent to the cluster is right, and valid."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.config import kube_config
from pipelines_cluster import DOCKER, IMAGE, Cluster, activate_stack, listening, submitted, write_kubeconfig
from zenml.client import Client
from zenml.config.schedule import Schedule
from zenml.enums import StepRuntime
from zenml.integrations.kubernetes.orchestrators import kubernetes_orchestrator_entrypoint as entrypoint

from camgate.pipelines import (
    audit_pipeline,
    dynamic_audit_pipeline,
    monitoring_pipeline,
    retraining_pipeline,
    training_pipeline,
)

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
MODEL = {"data": "s3://pets/manifest.csv", "model": "models:/pets@champion"}
TRAINED = {"data": "s3://pets/manifest.csv", "model_name": "pets"}
NIGHTLY = "17 3 * * *"


@pytest.fixture
def cluster(stores: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    with listening() as server:
        kubeconfig = write_kubeconfig(stores / "kubeconfig", server.url)
        monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(kubeconfig))
        # Jobs are over at once here, so the pod that starts them need not wait for them.
        soon = {"job_monitoring_interval": 0.01}
        activate_stack("kubernetes", {"kubernetes_context": "loopback", **soon}, monkeypatch)
        yield server


def container(job: dict[str, Any]) -> dict[str, Any]:
    """The only one of a job's pod."""
    (found,) = job["spec"]["template"]["spec"]["containers"]
    return dict(found)


def jobs_of_steps(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """Do what the orchestrator's pod would: start a job for each step, in order."""
    (job,) = cluster.manifests("Job")
    assert container(job)["command"] == ["python", "-m", entrypoint.__name__]
    assert container(job)["image"] == IMAGE
    monkeypatch.setattr(sys, "argv", ["orchestrator", *container(job)["args"]])
    entrypoint.main()
    jobs = {argument(each, "--step_name"): each for each in cluster.manifests("Job")[1:]}
    cluster.posted.clear()
    return jobs


def argument(job: dict[str, Any], name: str) -> str:
    arguments = container(job)["args"]
    return str(arguments[arguments.index(name) + 1])


def test_each_step_of_the_static_pipelines_is_a_job(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    training_pipeline.with_options(settings=DOCKER)(**TRAINED)
    jobs = jobs_of_steps(cluster, monkeypatch)
    assert list(jobs) == [
        "load_data",
        "train_model",
        "evaluate_model",
        "audit_heatmaps",
        "gate_promotion",
        "promote_model",
        "enforce_verdict",
    ]
    audit_pipeline.with_options(config_path=str(CONFIGS / "kubernetes.yaml"))()
    jobs = jobs_of_steps(cluster, monkeypatch)
    shards = [f"audit_shard_{number}" for number in range(8)]
    assert set(list(jobs)[:2]) == {"load_data", "plan_shards"}
    assert sorted(list(jobs)[2:10]) == shards
    assert list(jobs)[10:] == ["merge_shards", "gate_promotion", "enforce_verdict"]
    for name, job in jobs.items():
        assert container(job)["image"] == IMAGE
        assert {"name": "MLFLOW_TRACKING_URI", "value": "http://mlflow.mlflow.svc:5000"} in container(job)[
            "env"
        ]
        asked = {"cpu": "4", "memory": "8Gi"} if name in shards else {"cpu": "1", "memory": "2Gi"}
        assert container(job)["resources"]["requests"] == asked
        assert job["spec"]["backoffLimit"] - jobs["load_data"]["spec"]["backoffLimit"] == 2 * (name in shards)


@pytest.mark.parametrize(
    ("pipeline", "parameters"),
    [
        (retraining_pipeline, TRAINED | {"shards": {"count": 4, "how": "dynamic"}}),
        (monitoring_pipeline, TRAINED),
        (audit_pipeline, MODEL | {"shards": {"count": 4}}),
    ],
    ids=["retraining", "monitoring", "audit"],
)
def test_a_schedule_is_a_cron_job(cluster: Cluster, pipeline: Any, parameters: dict[str, Any]) -> None:
    schedule = Schedule(name="nightly", cron_expression=NIGHTLY)
    settings = {**DOCKER, "orchestrator.kubernetes": {"concurrency_policy": "Forbid"}}
    pipeline.with_options(schedule=schedule, settings=settings)(**parameters)
    (job,) = cluster.manifests("CronJob")
    assert (job["spec"]["schedule"], job["spec"]["concurrencyPolicy"]) == (NIGHTLY, "Forbid")
    (own,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert own["image"] == IMAGE
    assert str(submitted().id) in own["args"]
    assert not cluster.manifests("Job")


def test_the_dynamic_audit_has_the_settings_of_its_shards_before_it_starts(cluster: Cluster) -> None:
    dynamic_audit_pipeline.with_options(config_path=str(CONFIGS / "kubernetes-dynamic.yaml"))()
    (job,) = cluster.manifests("Job")
    assert container(job)["resources"]["requests"] == {"cpu": "2", "memory": "8Gi"}
    assert "zenml.pipelines.dynamic.entrypoint_configuration" in " ".join(container(job)["args"])
    assert str(submitted().id) in container(job)["args"]
    content = yaml.safe_load((CONFIGS / "kubernetes-dynamic.yaml").read_text(encoding="utf-8"))
    step = submitted().step_configurations["audit_shard"]
    assert step.config.runtime is StepRuntime.ISOLATED
    asked = content["steps"]["audit_shard"]["settings"]["orchestrator.kubernetes"]["pod_settings"]
    orchestrator = Client().active_stack.orchestrator
    assert orchestrator.get_settings(step).pod_settings.resources == asked["resources"]
