"""Pipelines as users start them: the example, the audit of an existing model, YAML, another folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient
from pipelines_data import AUDIT, LENIENT, STRICT, TRAINING
from zenml.client import Client
from zenml.utils import source_utils

from audits_by_hand import make_audit
from camgate.errors import PromotionBlocked
from camgate.gate.judge import judge
from camgate.gate.verdict import Status
from camgate.pipelines import run_training
from camgate.pipelines.running import output_of
from camgate.registry.promotion import Promotion
from camgate.steps import enforce_verdict

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(REPO / "examples"))
    import add_to_your_pipeline

    return add_to_your_pipeline


@pytest.mark.usefixtures("stores")
def test_the_example_audits_a_foreign_module_and_is_blocked(example: Any, squares: Path) -> None:
    # ZenML names the step that raised; all evidence is kept
    with pytest.raises(RuntimeError, match="enforce_verdict"):
        example.my_pipeline(data=str(squares), classes=["blue", "red"], policy=STRICT)
    run = Client().list_pipeline_runs(sort_by="desc:created", size=1, hydrate=True).items[0]
    assert run.status.value == "failed"
    assert run.steps["gate_promotion"].outputs["verdict"][0].load().status is Status.FAIL


@pytest.mark.usefixtures("stores")
@pytest.mark.parametrize(("status", "reason"), [("error", "digest_mismatch"), ("approved", "lock_held")])
def test_a_pass_that_could_not_be_promoted_does_not_end_silently(status: str, reason: str) -> None:
    verdict = judge(make_audit())
    assert verdict.status is Status.PASS
    promotion = Promotion(name="squares", version=1, status=status, alias_moved=False, reason=reason)
    with pytest.raises(PromotionBlocked, match=reason):
        enforce_verdict.entrypoint(verdict=verdict, promotion=promotion)
    warned = verdict.model_copy(update={"on_block": "warn"})
    assert enforce_verdict.entrypoint(verdict=warned, promotion=promotion) == "PASS"


def write_configuration(folder: Path, squares: Path, policy: dict[str, Any]) -> Path:
    path = folder / "run.yaml"
    parameters = {
        "data": str(squares),
        "model_name": "squares",
        "policy": policy,
        "training": TRAINING,
        "audit": AUDIT,
        "share_pass": True,
    }
    path.write_text(yaml.safe_dump({"parameters": parameters}), encoding="utf-8")
    return path


@pytest.mark.usefixtures("stores")
def test_a_yaml_run_configuration_from_python(squares: Path, tmp_path: Path) -> None:
    outcome = run_training(config_path=write_configuration(tmp_path, squares, LENIENT))
    assert outcome.verdict.status is Status.PASS
    assert outcome.evaluation is not None
    right = outcome.result.scores["predicted"] == outcome.result.scores["label"]
    assert (outcome.evaluation.n, outcome.evaluation.accuracy) == (len(right), pytest.approx(right.mean()))


def test_outputs_are_read_where_the_main_module_has_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a notebook, or with `python -c`: ZenML refuses to look for code there."""
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)
    monkeypatch.setattr(source_utils, "_CUSTOM_SOURCE_ROOT", None)
    monkeypatch.setattr(Client, "find_repository", lambda: None)
    with pytest.raises(RuntimeError, match="source root"):
        source_utils.get_source_root()
    artifact = SimpleNamespace(load=source_utils.get_source_root)
    run: Any = SimpleNamespace(steps={"step": SimpleNamespace(outputs={"out": [artifact]})})
    assert output_of(run, "step", "out") == str(REPO / "src")


@pytest.mark.parametrize("place", [pytest.param("repository", marks=pytest.mark.long), "elsewhere"])
def test_zenml_runs_the_pipeline_from_a_yaml_file_and_any_folder(
    stores: Path, squares: Path, tmp_path: Path, place: str
) -> None:
    configuration = write_configuration(tmp_path, squares, LENIENT)
    folder = REPO if place == "repository" else tmp_path
    zenml = Path(sys.executable).with_name("zenml")
    command = [str(zenml), "pipeline", "run", "camgate.pipelines.training.training_pipeline"]
    run = subprocess.run(
        [*command, "-c", str(configuration)],
        cwd=folder,
        env={**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{stores / 'mlflow.db'}"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    client = MlflowClient(f"sqlite:///{stores / 'mlflow.db'}")
    assert client.get_model_version_by_alias("squares", "champion").tags["validation_status"] == "approved"
    Client._reset_instance()
    step_run = Client().list_pipeline_runs(sort_by="desc:created", size=1, hydrate=True).items[0]
    for step in step_run.steps.values():
        assert step.spec.source.import_path.startswith("camgate."), step.spec.source.import_path


@pytest.mark.parametrize("name", ["training", "audit"])
def test_committed_run_configurations_name_real_parameters(name: str) -> None:
    import inspect

    from camgate.pipelines import audit_pipeline, training_pipeline

    pipeline = {"training": training_pipeline, "audit": audit_pipeline}[name]
    content = yaml.safe_load((REPO / "configs" / f"{name}.yaml").read_text(encoding="utf-8"))
    assert set(content["parameters"]) <= set(inspect.signature(pipeline.entrypoint).parameters)
