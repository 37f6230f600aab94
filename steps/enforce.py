"""Step: fail the run, last of all, when the model was not accepted."""

from __future__ import annotations

from typing import Annotated

from zenml import step

import camgate.materializers  # noqa: F401  (registers them)
from camgate.gate.verdict import Verdict
from camgate.materializers.sources import pin
from camgate.registry.enforcing import enforce
from camgate.registry.promotion import Promotion
from camgate.steps._tracking import tracked


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
        enforce(verdict, promotion)
    return verdict.status.value


pin(enforce_verdict.entrypoint)
