"""What the audit in one step and the audit in shards have in common at MLflow."""

from __future__ import annotations

import pandas as pd

from camgate.audit.result import AuditResult
from camgate.data.manifest import audited_rows
from camgate.models.classifier import Classifier
from camgate.registry.flavor import log_classifier
from camgate.registry.tracking import log_audit, log_data
from camgate.steps._tracking import TrackedRun


def log_model(classifier: Classifier, run: TrackedRun) -> bool:
    """Log a model that is not in MLflow yet, so that what is audited is what is logged.

    Returns:
        Whether it is in MLflow now; a plain module without `builder` cannot be.
    """
    if classifier.model_uri is None and classifier.builder is not None:
        log_classifier(classifier, run_id=run.run_id, tracking_uri=run.uri)
    return classifier.model_uri is not None


def log_result(result: AuditResult, manifest: pd.DataFrame, run: TrackedRun) -> None:
    """Log an audit and the rows it was made on."""
    held = log_audit(run.run_id, result, tracking_uri=run.uri)
    rows, _ = audited_rows(manifest)
    log_data(held, rows, result.data_digest, name="audited", tracking_uri=run.uri)
