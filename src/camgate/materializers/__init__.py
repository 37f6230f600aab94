"""ZenML materializers, without pickle. Importing this package registers them."""

from __future__ import annotations

from camgate.materializers.audit import AuditResultMaterializer
from camgate.materializers.classifier import ClassifierMaterializer
from camgate.materializers.drill import DrillMaterializer
from camgate.materializers.evaluation import EvaluationMaterializer
from camgate.materializers.rival import RivalMaterializer
from camgate.materializers.shard import ShardMaterializer
from camgate.materializers.verdict import VerdictMaterializer

__all__ = [
    "AuditResultMaterializer",
    "ClassifierMaterializer",
    "DrillMaterializer",
    "EvaluationMaterializer",
    "RivalMaterializer",
    "ShardMaterializer",
    "VerdictMaterializer",
]
