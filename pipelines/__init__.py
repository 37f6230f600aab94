"""ZenML pipelines: `training_pipeline`, `audit_pipeline`, their dynamic twins, and what runs them."""

from __future__ import annotations

from camgate.pipelines.sharding import Shards
from camgate.pipelines.auditing import audit_pipeline, dynamic_audit_pipeline
from camgate.pipelines.running import RunOutcome, run_audit, run_training
from camgate.pipelines.training import dynamic_training_pipeline, training_pipeline

__all__ = [
    "RunOutcome",
    "Shards",
    "audit_pipeline",
    "dynamic_audit_pipeline",
    "dynamic_training_pipeline",
    "run_audit",
    "run_training",
    "training_pipeline",
]
