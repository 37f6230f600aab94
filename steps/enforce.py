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
    """Raise unless the verdict is PASS, where the policy says `on_block: fail`; else warn.

    Args:
        verdict: of `gate_promotion`.
        promotion: of `promote_model`: not used, but orders this step after it, when all evidence is kept.
        experiment: MLflow experiment; by default the pipeline's name.

    Returns:
        The verdict's status.

    Raises:
        PromotionBlocked: with the verdict's sentence.
    """
    with tracked(experiment):
        if verdict.status is not Status.PASS:
            if verdict.on_block == "fail":
                raise PromotionBlocked(verdict.sentence)
            _log.warning("%s (the policy says on_block: warn, so the run goes on)", verdict.sentence)
    return verdict.status.value


pin(enforce_verdict.entrypoint)
