"""ZenML steps: add `audit_heatmaps` and `gate_promotion` to your own pipeline, or take them all."""

from __future__ import annotations

from camgate.steps.audit import audit_heatmaps
from camgate.steps.champion import audit_champion
from camgate.steps.drill import drill_gate
from camgate.steps.enforce import enforce_verdict
from camgate.steps.evaluate import evaluate_model
from camgate.steps.gate import gate_promotion
from camgate.steps.load import load_data
from camgate.steps.merge import merge_shards
from camgate.steps.notify import notify_outcome
from camgate.steps.plan import plan_retraining
from camgate.steps.plan_shards import plan_shards
from camgate.steps.promote import promote_model
from camgate.steps.record import record_retraining
from camgate.steps.shard import audit_shard
from camgate.steps.train import train_model
from camgate.steps.verify import verify_model
from camgate.steps.watch import chart_audit, check_champion

__all__ = [
    "audit_champion",
    "audit_heatmaps",
    "audit_shard",
    "chart_audit",
    "check_champion",
    "drill_gate",
    "enforce_verdict",
    "evaluate_model",
    "gate_promotion",
    "load_data",
    "merge_shards",
    "notify_outcome",
    "plan_retraining",
    "plan_shards",
    "promote_model",
    "record_retraining",
    "train_model",
    "verify_model",
]
