"""Step: how good the classifier is."""

from __future__ import annotations

from typing import Annotated, Any

import pandas as pd
from zenml import step

import camgate.materializers  # noqa: F401  (registers them)
from camgate.audit.evaluated import evaluate_audit
from camgate.audit.result import AuditResult
from camgate.data.manifest import audited_rows, data_digest
from camgate.errors import InputError
from camgate.materializers.sources import pin
from camgate.models.classifier import Classifier
from camgate.models.evaluation import Evaluation, evaluate_classifier
from camgate.registry.tracking import log_data, log_evaluation, log_training
from camgate.steps._tracking import tracked


@step(enable_cache=False)
def evaluate_model(
    classifier: Classifier,
    manifest: pd.DataFrame,
    history: pd.DataFrame | None = None,
    parameters: dict[str, Any] | None = None,
    batch_size: int = 64,
    workers: int = 0,
    result: AuditResult | None = None,
    experiment: str | None = None,
) -> Annotated[Evaluation, "evaluation"]:
    """Evaluate on the test rows and log it, with the data and how the model was trained, to MLflow.

    Never cached, so that the MLflow run is whole even where training came from the cache.

    Args:
        classifier: the model.
        manifest: all rows; those with `split == "test"` count where the column exists.
        history: of `train_model`, one row an epoch, logged as metrics.
        parameters: of `train_model`, logged as the run's parameters.
        batch_size: images per forward pass.
        workers: loader processes.
        result: an audit of this model on this manifest. Its predictions are taken, and no image is read: an
            audit predicts the same rows.
        experiment: MLflow experiment; by default the pipeline's name.

    Raises:
        InputError: `result` is of another model's classes or of other data.
    """
    if result is None:
        evaluation = evaluate_classifier(classifier, manifest, batch_size=batch_size, workers=workers)
    else:
        _same_exam(result, classifier, manifest)
        evaluation = evaluate_audit(result)
    with tracked(experiment) as run:
        digest = data_digest(manifest)
        log_data(run.run_id, manifest, digest, name="manifest", context="training", tracking_uri=run.uri)
        if history is not None and parameters is not None:
            log_training(run.run_id, parameters, history, tracking_uri=run.uri)
        log_evaluation(run.run_id, evaluation, tracking_uri=run.uri)
    return evaluation


def _same_exam(result: AuditResult, classifier: Classifier, manifest: pd.DataFrame) -> None:
    """The digest of the model is left out: logging it, as the audit does, gives it another one."""
    if list(result.classes) != list(classifier.classes):
        raise InputError("`result` is the audit of a model with other classes: evaluate without it.")
    if result.data_digest != data_digest(audited_rows(manifest)[0]):
        raise InputError("`result` is an audit of other data than `manifest`: evaluate without it.")


pin(evaluate_model.entrypoint)
