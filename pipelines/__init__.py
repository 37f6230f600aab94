"""ZenML pipelines: `training_pipeline`, `audit_pipeline`, and functions that run them."""

from __future__ import annotations

from camgate.pipelines.auditing import audit_pipeline
from camgate.pipelines.running import RunOutcome, run_audit, run_training
from camgate.pipelines.training import training_pipeline

__all__ = ["RunOutcome", "audit_pipeline", "run_audit", "run_training", "training_pipeline"]
