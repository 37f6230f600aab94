"""Step: how good the classifier is."""

from __future__ import annotations

from typing import Annotated, Any

import pandas as pd
from camgate.registry.tracking import log_data, log_evaluation
from zenml import step

import camgate.materializers  # noqa: F401  (registers them)
from camgate.data.manifest import data_digest
from camgate.materializers.sources import pin
from camgate.models.classifier import Classifier
from camgate.models.evaluation import Evaluation, evaluate_classifier
from camgate.steps._tracking import tracked


@step(enable_cache=False)
def evaluate_model(
    classifier: Classifier,
    manifest: pd.DataFrame,
    parameters: dict[str, Any] | None = None,
    history: pd.DataFrame | None = None,
    batch_size: int = 64,
    workers: int = 0,
    experiment: str | None = None,
) -> Annotated[Evaluation, "evaluation"]:
    """Evaluate on the test rows and log it, with the data and how the model was trained, to MLflow.

    Never cached, so that the MLflow run is whole even where training came from the cache.

    Args:
        classifier: the model.
        manifest: all rows; those with `split == "test"` count where the column exists.
        parameters: how it was trained, logged as the run's parameters.
        history: one row an epoch, logged as metrics.
        batch_size: images per forward pass.
        workers: loader processes.
        experiment: MLflow experiment; by default the pipeline's name.
    """
    evaluation = evaluate_classifier(classifier, manifest, batch_size=batch_size, workers=workers)
    with tracked(experiment) as run:
        log_data(run.run_id, manifest, data_digest(manifest), tracking_uri=run.uri)
        log_evaluation(run.run_id, evaluation, tracking_uri=run.uri)
    return evaluation


pin(evaluate_model.entrypoint)
