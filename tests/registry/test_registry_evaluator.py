"""camgate as an evaluator of MLflow's: real `mlflow.models.evaluate`, found by the entry point."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.models import EvaluationResult, MetricThreshold
from mlflow.models.evaluation.base import list_evaluators, resolve_evaluators_and_configs
from mlflow.models.evaluation.evaluator_registry import _model_evaluation_registry

from camgate.audit.result import AuditResult
from camgate.audit.summary import summarise
from camgate.errors import InputError, ModelError, PolicyError
from camgate.gate.policy import Policy
from camgate.models.classifier import Classifier
from camgate.registry.connection import process_tracking_uri
from camgate.registry.evaluator import CamgateEvaluator
from camgate.registry.flavor import log_classifier

REPO = Path(__file__).resolve().parents[2]
QUICK = {
    "audit": {"interventions": False, "min_images": 10, "min_groups": 2, "target_layer": "stage2"},
    "coverage": {"overall": 0.0, "per_class": 0.0},
    "sanity": {"required": False},
}
LENIENT = {**QUICK, "checks": {"invalid_activation": {"max": 1.0}}}
SMALL = {"gallery_worst": 1, "gallery_sample": 1}


@pytest.fixture(autouse=True)
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry point of pyproject.toml as an installed package has it, in a registry without any other."""
    written = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]["entry-points"]
    folder = tmp_path / "site" / "camgate_as_installed-1.dist-info"
    folder.mkdir(parents=True)
    lines = [f"{name} = {value}" for name, value in written["mlflow.model_evaluator"].items()]
    (folder / "entry_points.txt").write_text("\n".join(["[mlflow.model_evaluator]", *lines, ""]))
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: camgate-as-installed\nVersion: 1\n")
    monkeypatch.syspath_prepend(str(folder.parent))
    monkeypatch.setattr(
        _model_evaluation_registry, "_registry", dict(_model_evaluation_registry._builtin_evaluators)
    )
    _model_evaluation_registry.register_entrypoints()


@pytest.fixture
def run(store: str, run_id: str) -> Iterator[str]:
    """The active run of the process."""
    with process_tracking_uri(store):
        with mlflow.start_run(run_id=run_id):
            yield run_id
        mlflow.clear_active_model()


@pytest.fixture
def uri(store: str, run_id: str, classifier: Classifier) -> str:
    return log_classifier(classifier, run_id=run_id, tracking_uri=store).model_uri


def evaluate(model: Any, data: Any, config: dict[str, Any] | None = None, **how: Any) -> EvaluationResult:
    config = {"policy": LENIENT, "audit": SMALL} if config is None else config
    how = {"model_type": "classifier", "targets": "label", "evaluators": ["camgate"]} | how
    return mlflow.models.evaluate(model, data, evaluator_config={"camgate": config}, **how)


def test_metrics_and_files_are_those_of_an_audit(
    uri: str, run: str, squares: pd.DataFrame, tmp_path: Path
) -> None:
    assert "camgate" in list_evaluators()
    found = evaluate(uri, squares)
    client = MlflowClient()
    held = client.get_run(run).data
    logged = AuditResult.load(client.download_artifacts(run, "audit", str(tmp_path)))
    numbers = {f"audit/{name}": value for name, value in summarise(logged).items()}
    assert found.run_id == run
    assert found.metrics == pytest.approx({**numbers, **held.metrics})
    assert {"gate/invalid_activation", "gate/passed", "audit/invalid_lift_ci_high"} <= found.metrics.keys()
    assert found.metrics["gate/passed"] == 1.0
    assert held.metrics.keys() == found.metrics.keys()
    assert held.params["audit.target_layer"] == "stage2"
    assert held.tags["camgate.verdict"] == "PASS"
    assert held.tags["camgate.model_uri"] == uri
    assert held.tags["camgate.policy_digest"] == Policy.parse(LENIENT).digest()
    names = [each.dataset.name for each in client.get_run(run).inputs.dataset_inputs]
    assert "audited" in names

    assert {"audit/report.html", "audit/scores.parquet", "gate/verdict.json"} <= found.artifacts.keys()
    for artifact in found.artifacts.values():
        again = type(artifact)(artifact.uri)  # what the run holds, not what is in memory
        if isinstance(artifact.content, pd.DataFrame):
            pd.testing.assert_frame_equal(again.content, artifact.content, check_dtype=False)
        elif isinstance(artifact.content, str):
            assert again.content == artifact.content
        else:
            assert again.content.keys() == artifact.content.keys()
    found.save(str(tmp_path / "kept"))
    kept = EvaluationResult.load(str(tmp_path / "kept"))
    assert kept.artifacts["gate/verdict.json"].content["status"] == "PASS"


def test_thresholds_of_mlflow_on_our_names(uri: str, run: str, squares: pd.DataFrame) -> None:
    found = evaluate(uri, squares)
    value = found.metrics["audit/invalid_lift_ci_high"]

    def validate(limit: float, name: str = "audit/invalid_lift_ci_high") -> None:
        terms = {name: MetricThreshold(threshold=limit, greater_is_better=False)}
        mlflow.validate_evaluation_results(terms, found)

    validate(value + 0.01)
    with pytest.raises(MlflowException, match="invalid_lift_ci_high value threshold check failed"):
        validate(value - 0.01)
    with pytest.raises(MlflowException, match="audit/background_gap was missing"):
        validate(1.0, "audit/background_gap")  # this policy asks for no interventions
    better = {"audit/invalid_lift": MetricThreshold(min_absolute_change=0.1, greater_is_better=False)}
    with pytest.raises(MlflowException, match="minimum absolute change check failed"):
        mlflow.validate_evaluation_results(better, found, found)


def test_a_loaded_model_without_targets_and_the_flat_configuration(
    uri: str, run: str, squares: pd.DataFrame, caplog: pytest.LogCaptureFixture
) -> None:
    strict = {**QUICK, "checks": {"invalid_activation": {"max": 0.0}}}
    renamed = squares.rename(columns={"label": "truth"}).assign(
        image=[Path(image).name for image in squares["image"]]
    )
    found = mlflow.models.evaluate(
        mlflow.pyfunc.load_model(uri),
        renamed,
        model_type="classifier",
        targets="truth",
        evaluators="camgate",
        evaluator_config={
            "policy": strict,
            "root": str(Path(squares["image"][0]).parent),
            "audit": {**SMALL, "slices": ["group"]},
        },
    )
    assert found.metrics["gate/passed"] == 0.0
    assert found.artifacts["gate/verdict.json"].content["status"] == "FAIL"
    below = evaluate(uri, squares, model_type="image classifier", targets=None)  # the run holds one already
    own = re.search(r"this one is in run (\w+) below", caplog.text)
    assert own is not None
    assert MlflowClient().get_run(own[1]).data.tags["mlflow.parentRunId"] == run
    assert {own[1] in artifact.uri for artifact in below.artifacts.values()} == {True}
    assert below.metrics["audit/invalid_lift"] == pytest.approx(found.metrics["audit/invalid_lift"])


def test_the_check_champion_needs_a_registered_model(uri: str, run: str, squares: pd.DataFrame) -> None:
    policy = {**QUICK, "checks": {**LENIENT["checks"], "champion": {"max_accuracy_loss": 0.1}}}
    config = {"policy": policy, "audit": SMALL}
    checks = evaluate(uri, squares, config).artifacts["gate/verdict.json"].content["checks"]
    assert (checks[-1]["status"], checks[-1]["reason"]) == ("ERROR", "not_measured")
    named = evaluate(uri, squares, {**config, "model_name": "underpass"})
    checks = named.artifacts["gate/verdict.json"].content["checks"]
    assert (checks[-1]["status"], checks[-1]["reason"]) == ("PASS", "no_champion")


@pytest.mark.parametrize(
    ("config", "error", "said"),
    [
        ({"polcy": {}}, InputError, r"unknown key 'polcy' \(did you mean 'policy'\?\)"),
        ({"alias": 3, "xyz": 1}, InputError, r"alias: .*string.*unknown key 'xyz'; known: policy, audit"),
        ({"audit": {"slice": ["group"]}}, InputError, r"audit\.'slice' \(did you mean 'slices'\?\)"),
        ({"policy": {"cheks": {}}}, PolicyError, "did you mean 'checks'"),
        ({"spec": {"class": []}}, ModelError, "spec: class: no such key; did you mean classes"),
    ],
)
def test_wrong_keys_are_named(
    uri: str, run: str, squares: pd.DataFrame, config: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        evaluate(uri, squares, config)
    assert not MlflowClient().list_artifacts(run)


def test_what_cannot_be_audited_says_what_to_give(uri: str, run: str, squares: pd.DataFrame) -> None:
    with pytest.raises(InputError, match=r"`data` is a ndarray; .*load_manifest"):
        evaluate(uri, np.zeros((2, 2)), targets=np.zeros(2))
    with pytest.raises(InputError, match=r"`model` .* no model that MLflow has logged"):
        evaluate(lambda rows: ["red"] * len(rows), squares)
    with mlflow.start_run(nested=True):
        other = mlflow.pyfunc.log_model(
            name="other", python_model=lambda model_input: model_input, pip_requirements=[]
        )
    with pytest.raises(ModelError, match="was not logged by camgate"):
        evaluate(other.model_uri, squares)


def test_others_do_not_notice_that_it_is_installed(run: str) -> None:
    table = pd.DataFrame({"x": [1.0, 2.0, 3.0, 4.0], "y": [1.0, 2.0, 3.0, 5.0]})
    found = mlflow.models.evaluate(
        lambda rows: rows["x"],
        table,
        model_type="regressor",
        targets="y",
        evaluator_config={"log_model_explainability": False},
    )
    assert "mean_absolute_error" in found.metrics
    assert not [name for name in found.metrics if name.startswith(("audit/", "gate/"))]


@pytest.mark.parametrize(
    ("evaluators", "config", "chosen"),
    [
        (None, None, False),
        (None, {"pos_label": 1}, False),
        (None, {"policy": "p.yaml", "pos_label": 1}, False),  # a flat one, for somebody else
        (None, {"default": {"pos_label": 1}}, False),
        (None, {"camgate": {"policy": "p.yaml"}}, True),
        ("camgate", None, True),
        (["default", "camgate"], None, True),
    ],
)
def test_it_is_chosen_where_it_is_asked_for(evaluators: Any, config: Any, chosen: bool) -> None:
    bundles = resolve_evaluators_and_configs(evaluators, config, "classifier")
    assert ("camgate" in [bundle.name for bundle in bundles]) is chosen
    assert any(isinstance(bundle.evaluator, CamgateEvaluator) for bundle in bundles) is chosen


def test_finding_it_imports_nothing_that_takes_time() -> None:
    code = (
        "import sys, mlflow.models.evaluation.base; before = set(sys.modules);"
        "import camgate.registry.evaluator; new = {name.split('.')[0] for name in set(sys.modules) - before};"
        "slow = new & {'torch', 'torchvision', 'zenml', 'cv2', 'scipy', 'matplotlib', 'pytorch_grad_cam'};"
        "sys.exit(f'imports {slow}' if slow else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
