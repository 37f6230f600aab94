"""Fail last, after all evidence is kept, when the model was not accepted."""

from __future__ import annotations

import logging

from camgate.errors import PromotionBlocked
from camgate.gate.verdict import Status, Verdict
from camgate.registry.promotion import Promotion

_log = logging.getLogger(__name__)


def enforce(verdict: Verdict, promotion: Promotion | None = None) -> None:
    """Raise unless the model was accepted, where the policy says `on_block: fail`; else warn.

    A model that was promoted under a waiver is accepted, with a warning.

    Args:
        verdict: of the gate.
        promotion: where there was one; a PASS that could not be promoted (the files in the registry are not
            those that were audited, another promotion was at work) does not end silently.

    Raises:
        PromotionBlocked: with the verdict's sentence, or with why it could not be promoted.
    """
    if promotion is not None and promotion.alias_moved and promotion.status == "waived":
        _log.warning("%s %s", verdict.sentence, promotion.sentence)
        return
    if verdict.status is not Status.PASS:
        trouble = verdict.sentence
    elif promotion is not None and not promotion.alias_moved:
        trouble = promotion.sentence or f"Not promoted: {promotion.reason}."
    else:
        return
    if verdict.on_block == "fail":
        raise PromotionBlocked(trouble)
    _log.warning("%s (the policy says on_block: warn, so the run goes on)", trouble)
