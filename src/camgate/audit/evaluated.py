"""Accuracy and the like from the audit's own forward pass: whoever audits need not predict again."""

from __future__ import annotations

import torch

from camgate.audit.result import AuditResult
from camgate.models.evaluation import Evaluation, evaluation_of


def evaluate_audit(result: AuditResult) -> Evaluation:
    """What `evaluate_classifier` gives on the audited rows, without another pass over the images.

    Args:
        result: of `camgate.audit`; its scores hold each image's label, prediction and confidence.

    Raises:
        InputError: no image could be read, or the extra `camgate[training]` is missing.
    """
    readable = result.scores[result.scores["status"] != "unreadable"]
    position = {name: number for number, name in enumerate(result.classes)}
    predicted, labels = (
        torch.tensor([position[str(name)] for name in readable[column]], dtype=torch.int64)
        for column in ("predicted", "label")
    )
    confidence = torch.tensor(readable["confidence"].to_numpy(dtype="float32"))
    unreadable = len(result.scores) - len(readable)
    return evaluation_of(predicted, labels, confidence, classes=result.classes, unreadable=unreadable)
