"""ZenML pipelines: training, audit, retraining and monitoring, and functions that run them."""

from __future__ import annotations

from camgate.pipelines.auditing import audit_pipeline, dynamic_audit_pipeline
from camgate.pipelines.monitoring import monitoring_pipeline
from camgate.pipelines.operating import (
    MonitoringOutcome,
    RetrainingOutcome,
    run_monitoring,
    run_retraining,
)
from camgate.pipelines.retraining import retraining_pipeline
from camgate.pipelines.running import RunOutcome, run_audit, run_training
from camgate.pipelines.sharding import Shards
from camgate.pipelines.training import dynamic_training_pipeline, training_pipeline

__all__ = [
    "MonitoringOutcome",
    "RetrainingOutcome",
    "RunOutcome",
    "Shards",
    "audit_pipeline",
    "dynamic_audit_pipeline",
    "dynamic_training_pipeline",
    "monitoring_pipeline",
    "retraining_pipeline",
    "run_audit",
    "run_monitoring",
    "run_retraining",
    "run_training",
    "training_pipeline",
]
