"""An audit and its verdict as an MLflow evaluation: the same names as in a pipeline's run."""

from __future__ import annotations

import inspect
import json
import logging
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow import MlflowClient
from mlflow.models.evaluation.artifacts import (
    JsonEvaluationArtifact,
    ParquetEvaluationArtifact,
    TextEvaluationArtifact,
)
from mlflow.models.evaluation.base import EvaluationArtifact, EvaluationResult

from camgate.audit.result import AuditResult
from camgate.audit.runner import audit
from camgate.data.manifest import audited_rows, validate_manifest
from camgate.errors import InputError
from camgate.gate.judge import judge
from camgate.gate.policy import Policy
from camgate.models.classifier import Classifier
from camgate.models.spec import ModelSpec
from camgate.registry.attestation import attest
from camgate.registry.champion import rival_of
from camgate.registry.evaluator import NAME, EvaluatorConfig, near
from camgate.registry.flavor import load_classifier
from camgate.registry.tracking import audit_metrics, log_audit, log_data, log_verdict, verdict_metrics
from camgate.report.files import write_judgement

_log = logging.getLogger(__name__)


def evaluate_logged(model: Any, dataset: Any, config: EvaluatorConfig, *, run_id: str) -> EvaluationResult:
    """Audit a logged model, judge it, and log both.

    A run holds one audit: where `run_id` has one already, this one is in a run below it.

    Args:
        model: as `mlflow.pyfunc` loaded it.
        dataset: MLflow's EvaluationDataset of a manifest.
        config: policy and options.
        run_id: the run of the evaluation.

    Returns:
        The metrics `audit/…` and `gate/…`, and the files of the run under their paths in it.

    Raises:
        InputError: the configuration, the data or the model cannot be used.
        RegistryError: MLflow refuses or cannot be reached.
    """
    options = audit_options(config)
    policy = Policy.read(config.policy)
    manifest = validate_manifest(rows_of(dataset), source="data", root=config.root)
    result = audit(_classifier(model, config), manifest, **(policy.audit_options() | options))
    held = log_audit(run_id, result)
    if held != run_id:
        _log.warning("Run %s holds another audit already; this one is in run %s below it.", run_id, held)
    rows, _ = audited_rows(manifest)
    log_data(held, rows, result.data_digest, name="audited")
    rival = None
    if config.model_name is not None and "champion" in policy.checks:
        rival = rival_of(
            result,
            manifest,
            name=config.model_name,
            run_id=held,
            alias=config.alias,
            allow_code=config.allow_code,
            allow_pickle=config.allow_pickle,
        ).audit
    verdict = judge(result, policy, champion=rival)
    with tempfile.TemporaryDirectory(prefix="camgate-evaluate-") as scratch:
        folder = Path(scratch)
        shown = rival if isinstance(rival, AuditResult) else None
        page = write_judgement(folder, result, verdict, champion=shown).read_text(encoding="utf-8")
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        log_audit(held, result, verdict, folder=folder, pictures=0)
    log_verdict(held, verdict, policy, attestation=attest(verdict, result, runs={"audit": held}))
    place = MlflowClient().get_run(held).info.artifact_uri.rstrip("/")
    kept: dict[str, tuple[type[EvaluationArtifact], Any]] = {
        "audit/audit.json": (JsonEvaluationArtifact, result.document()),
        "audit/scores.parquet": (ParquetEvaluationArtifact, result.scores),
        "audit/interventions.parquet": (ParquetEvaluationArtifact, result.interventions),
        "audit/summary.json": (JsonEvaluationArtifact, summary),
        "audit/report.html": (TextEvaluationArtifact, page),
        "gate/verdict.json": (JsonEvaluationArtifact, verdict.model_dump(mode="json")),
        "gate/policy.yaml": (TextEvaluationArtifact, policy.to_yaml()),
    }
    return EvaluationResult(  # type: ignore[no-untyped-call]
        metrics=audit_metrics(result) | verdict_metrics(verdict),
        artifacts={
            path: kind(f"{place}/{path}", content)
            for path, (kind, content) in kept.items()
            if content is not None
        },
        run_id=held,
    )


def audit_options(config: EvaluatorConfig) -> dict[str, Any]:
    """The options of `camgate.audit` in the configuration.

    Raises:
        InputError: names each that is unknown.
    """
    known = [
        name
        for name, parameter in inspect.signature(audit).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    ]
    unknown = [f"audit.{near(key, known)}" for key in config.audit if key not in known]
    if unknown:
        raise InputError(f"evaluator_config of {NAME}: unknown key {'; '.join(unknown)}")
    return config.audit


def rows_of(dataset: Any) -> pd.DataFrame:
    """The manifest in an EvaluationDataset, its `targets` back as the column `label`.

    Raises:
        InputError: the data are no DataFrame.
    """
    features = dataset.features_data
    if not isinstance(features, pd.DataFrame):
        raise InputError(
            f"`data` is a {type(features).__name__}; camgate evaluates a manifest, a DataFrame with the "
            "columns `image`, `label` and `region`: data=camgate.load_manifest('data.csv'), targets='label'"
        )
    return features.assign(label=dataset.labels_data) if dataset.has_targets else features


def _classifier(model: Any, config: EvaluatorConfig) -> Classifier:
    """The network behind a loaded model, read from the files that MLflow keeps of it."""
    model_id = getattr(getattr(model, "metadata", None), "model_id", None)
    if model_id is None:
        kind = "None" if model is None else type(model).__name__
        raise InputError(
            f"`model` ({kind}) is no model that MLflow has logged, so camgate cannot look into its network: "
            "give the URI models:/m-<id>, models:/name/version or models:/name@alias of one that "
            "camgate.registry.flavor.log_classifier logged, or of a PyTorch model with `spec`"
        )
    return load_classifier(
        f"models:/{model_id}",
        spec=None if config.spec is None else ModelSpec.read(config.spec),
        allow_code=config.allow_code,
        allow_pickle=config.allow_pickle,
    )
