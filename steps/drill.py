"""Step: mutation testing of the gate on the candidate's own images."""

from __future__ import annotations

from typing import Annotated, Any

import pandas as pd
from zenml import step

import camgate.materializers  # noqa: F401  (registers them)
from camgate.audit.result import AuditResult
from camgate.drill.runner import MINUTES, run_drill
from camgate.gate.drilled import DrillResult
from camgate.materializers.sources import pin
from camgate.models.classifier import Classifier
from camgate.registry.tracking import log_drill
from camgate.steps._models import as_classifier
from camgate.steps._progress import reporter
from camgate.steps._tracking import tracked


@step(enable_cache=False)
def drill_gate(
    manifest: pd.DataFrame,
    result: AuditResult,
    model: Classifier | None = None,
    policy: str | dict[str, Any] | None = None,
    minutes: float = MINUTES,
    seed: int | None = None,
    allow_code: bool = False,
    allow_pickle: bool = False,
    experiment: str | None = None,
) -> Annotated[DrillResult, "drill"]:
    """Plant shortcuts in copies of the audited model and count what the gate blocks; never cached.

    Args:
        manifest: the data, with training rows (split `train`) where there are any.
        result: the audit whose model is drilled: the one that was logged to MLflow.
        model: the model, where the audit could not log it.
        policy: path of a YAML file, or its content; None takes the default policy.
        minutes: stop making mutants after this time.
        seed: None derives it from model and data.
        allow_code: the logged model may name a builder by import path, whose code then runs.
        allow_pickle: it may be one that others logged with pickle.
        experiment: MLflow experiment; by default the pipeline's name.
    """
    with tracked(experiment) as run:
        classifier = as_classifier(
            model if result.model_uri is None else None,
            source=result.model_uri,
            allow_code=allow_code,
            allow_pickle=allow_pickle,
            tracking_uri=run.uri,
        )
        drill = run_drill(classifier, manifest, policy, minutes=minutes, seed=seed, progress=reporter())
        log_drill(run.run_id, drill, tracking_uri=run.uri)
    return drill


pin(drill_gate.entrypoint)
