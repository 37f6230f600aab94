"""Step: keep the decision with the version, so that the same data are not decided on twice."""

from __future__ import annotations

from typing import Annotated

from zenml import step

import camgate.materializers  # noqa: F401  (registers them)
from camgate.gate.verdict import Verdict
from camgate.materializers.sources import pin
from camgate.operate.plans import Plan
from camgate.registry.promotion import Promotion
from camgate.registry.retraining import record_decision
from camgate.steps._tracking import tracking_server


@step(enable_cache=False)
def record_retraining(plan: Plan, verdict: Verdict, promotion: Promotion) -> Annotated[bool, "recorded"]:
    """Write the key of `plan_retraining` onto the version, where the decision stands for good; never cached.

    An ERROR, or a comparison with a champion that has changed meanwhile, is not kept: the next run tries
    again.

    Args:
        plan: of `plan_retraining`.
        verdict: of `gate_promotion`.
        promotion: of `promote_model`.
    """
    with tracking_server() as uri:
        return record_decision(plan.key, verdict, promotion, tracking_uri=uri)


pin(record_retraining.entrypoint)
