"""Run a pipeline from code or from the command line and get its outcome instead of an exception."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import yaml
from zenml.client import Client
from zenml.models import PipelineRunResponse
from zenml.pipelines.pipeline_definition import Pipeline
from zenml.utils import source_utils

import camgate
from camgate.audit.result import AuditResult
from camgate.errors import PromotionBlocked
from camgate.gate.verdict import Verdict
from camgate.models.evaluation import Evaluation
from camgate.pipelines.auditing import audit_pipeline, dynamic_audit_pipeline
from camgate.pipelines.sharding import Shards
from camgate.pipelines.training import dynamic_training_pipeline, training_pipeline
from camgate.registry.promotion import Promotion
from camgate.steps._progress import Listener, listen


@dataclass(frozen=True)
class RunOutcome:
    """What a pipeline run left behind.

    Attributes:
        status: of the ZenML run: `completed`, or `failed` where the gate blocked it.
        verdict: the gate's answer.
        promotion: what the registry did; None where nothing was registered.
        result: the audit.
        evaluation: None in a pipeline without training.
        mlflow_run_id: the one MLflow run of this pipeline run.
        pipeline_run_id: ZenML's.
        pipeline_run_name: ZenML's, for people.
    """

    status: str
    verdict: Verdict
    promotion: Promotion | None
    result: AuditResult
    evaluation: Evaluation | None
    mlflow_run_id: str
    pipeline_run_id: str
    pipeline_run_name: str


def run_training(
    *,
    config_path: str | Path | None = None,
    settings: dict[str, Any] | None = None,
    progress: Listener | None = None,
    **parameters: Any,
) -> RunOutcome:
    """Run `training_pipeline` on the active stack and wait for it.

    Args:
        config_path: YAML run configuration; a value must not be given both in it and in `parameters`.
        settings: further arguments of ZenML's `pipeline.with_options`, such as `enable_cache`, `model`.
        progress: called with (stage, done, total) where the steps run in this process.
        parameters: of `training_pipeline`. With `shards={"count": 8, "how": "dynamic"}`, here or in the YAML
            file, `dynamic_training_pipeline` is run instead.

    Returns:
        The outcome, also of a blocked run.

    Raises:
        CamgateError: what a step found wrong, e.g. faults in the data.
    """
    pipeline = dynamic_training_pipeline if _is_dynamic(parameters, config_path) else training_pipeline
    return outcome(
        run_pipeline(pipeline, parameters, config_path=config_path, settings=settings, progress=progress)
    )


def run_audit(
    *,
    config_path: str | Path | None = None,
    settings: dict[str, Any] | None = None,
    progress: Listener | None = None,
    **parameters: Any,
) -> RunOutcome:
    """Run `audit_pipeline` on the active stack and wait for it; see `run_training`."""
    pipeline = dynamic_audit_pipeline if _is_dynamic(parameters, config_path) else audit_pipeline
    return outcome(
        run_pipeline(pipeline, parameters, config_path=config_path, settings=settings, progress=progress)
    )


def _is_dynamic(parameters: dict[str, Any], config_path: str | Path | None) -> bool:
    """Whether the shards, as given in code or in the YAML file, need the dynamic pipeline."""
    options = parameters.get("shards")
    if options is None and config_path is not None:
        content = yaml.safe_load(Path(config_path).read_text(encoding="utf-8")) or {}
        options = (content.get("parameters") or {}).get("shards")
    shards = Shards.read(options)
    return shards is not None and shards.how == "dynamic"


def run_pipeline(
    pipeline: Pipeline,
    parameters: dict[str, Any],
    *,
    config_path: str | Path | None = None,
    settings: dict[str, Any] | None = None,
    progress: Listener | None = None,
) -> PipelineRunResponse:
    """Run one of our pipelines and give back ZenML's record of it, also where the gate blocked it."""
    name = f"{pipeline.name}-{uuid4().hex[:12]}"
    options: dict[str, Any] = {"run_name": name, **(settings or {})}
    if config_path is not None:
        options["config_path"] = str(config_path)
    with _source_root(), _quiet(), listen(progress):
        with suppress(PromotionBlocked):  # the outcome says so, with all evidence
            pipeline.with_options(**options)(**parameters)
        return Client().get_pipeline_run(options["run_name"])


def outcome(run: PipelineRunResponse) -> RunOutcome:
    """Read what a finished run of one of our pipelines left behind."""
    gate = run.steps["gate_promotion"]
    promotion = output_of(run, "promote_model", "promotion")
    return RunOutcome(
        status=run.status.value,
        verdict=cast(Verdict, output_of(run, "gate_promotion", "verdict")),
        promotion=cast(Promotion | None, promotion),
        result=cast(
            AuditResult, output_of(run, "audit_heatmaps", "audit") or output_of(run, "merge_shards", "audit")
        ),
        evaluation=cast(Evaluation | None, output_of(run, "evaluate_model", "evaluation")),
        mlflow_run_id=str(gate.run_metadata["mlflow_run_id"]),
        pipeline_run_id=str(run.id),
        pipeline_run_name=run.name,
    )


def output_of(run: PipelineRunResponse, step: str, name: str) -> Any:
    """An output of a step; None where the step did not run."""
    if step not in run.steps:
        return None
    with _source_root():
        return run.steps[step].outputs[name][0].load()


@contextmanager
def _source_root() -> Iterator[None]:
    """Let ZenML look for code beside our package, whatever the working folder or main module is."""
    before = source_utils._CUSTOM_SOURCE_ROOT
    if before is None and Client.find_repository() is None:
        source_utils.set_custom_source_root(str(Path(camgate.__file__).resolve().parents[1]))
    try:
        yield
    finally:
        source_utils.set_custom_source_root(before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence ZenML's own log: the outcome, or the step's exception, is what the caller shows."""
    logger = logging.getLogger("zenml")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
