"""Step: fail the run, last of all, when the model was not accepted."""

from __future__ import annotations

import logging
from typing import Annotated

from zenml import step

import camgate.materializers  # noqa: F401  (registers them)
from camgate.errors import PromotionBlocked
from camgate.gate.verdict import Status, Verdict
from camgate.materializers.sources import pin
from camgate.registry.promotion import Promotion
from camgate.steps._tracking import tracked

_log = logging.getLogger(__name__)


@step(enable_cache=False)
def enforce_verdict(
    verdict: Verdict, promotion: Promotion | None = None, experiment: str | None = None
) -> Annotated[str, "status"]:
    """Raise unless the model was accepted, where the policy says `on_block: fail`; else warn.

    A model that was promoted under a waiver is accepted, with a warning.

    Args:
        verdict: of `gate_promotion`.
        promotion: of `promote_model`; a PASS that could not be promoted (the files in the registry are not
            those that were audited, another promotion was at work) does not end silently. It also orders
            this step last.
        experiment: MLflow experiment; by default the pipeline's name.

    Returns:
        The verdict's status.

    Raises:
        PromotionBlocked: with the verdict's sentence, or with why it could not be promoted.
    """
    with tracked(experiment):
        trouble = None
        if promotion is not None and promotion.alias_moved and promotion.status == "waived":
            _log.warning("%s %s", verdict.sentence, promotion.sentence)
        elif verdict.status is not Status.PASS:
            trouble = verdict.sentence
        elif promotion is not None and not promotion.alias_moved:
            trouble = promotion.sentence or f"Not promoted: {promotion.reason}."
        if trouble is not None:
            if verdict.on_block == "fail":
                raise PromotionBlocked(trouble)
            _log.warning("%s (the policy says on_block: warn, so the run goes on)", trouble)
    return verdict.status.value


pin(enforce_verdict.entrypoint)
