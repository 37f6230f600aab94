"""Step: register the model, and move the alias if the verdict is PASS."""

from __future__ import annotations

import logging
from typing import Annotated

from zenml import get_step_context, step
from zenml.enums import ModelStages

import camgate.materializers  # noqa: F401  (registers them)
from camgate.audit.result import AuditResult
from camgate.gate.drilled import DrillResult
from camgate.gate.verdict import Verdict
from camgate.materializers.sources import pin
from camgate.registry.champion import Rival
from camgate.registry.promotion import Promotion
from camgate.report.logged import promote_audited
from camgate.steps._tracking import in_pipeline, tracked

_log = logging.getLogger(__name__)


@step(enable_cache=False)
def promote_model(
    verdict: Verdict,
    result: AuditResult,
    name: str,
    alias: str = "champion",
    champion: Rival | None = None,
    drill: DrillResult | None = None,
    experiment: str | None = None,
) -> Annotated[Promotion, "promotion"]:
    """Register and tag the audited model; the alias moves on PASS, or on FAIL under a waiver. Never cached.

    The version carries the attested verdict, signed where CAMGATE_SIGNING_KEY names a key; `verify_model`
    proves it. A waiver counts where a key of CAMGATE_TRUSTED_KEYS has signed it; the report in the run then
    shows it, and earlier attempts. A refused model is registered too and tagged `rejected`, so that there is
    a record. Where the pipeline has a ZenML `Model`, its stage follows MLflow; it decides nothing.

    Args:
        verdict: of `gate_promotion`.
        result: the audit that it judged; says where the model was logged.
        name: registered model in MLflow.
        alias: to move.
        champion: of `audit_champion`: nothing moves when another version holds the alias by now.
        drill: of `drill_gate`, for the report.
        experiment: MLflow experiment; by default the pipeline's name.

    Raises:
        InputError: the audited model was not logged to MLflow.
        RegistryError: the registry cannot be reached or refuses.
    """
    with tracked(experiment) as run:
        promotion = promote_audited(
            verdict,
            result,
            run_id=run.run_id,
            name=name,
            alias=alias,
            champion=champion,
            drill=drill,
            tracking_uri=run.uri,
        )
    if promotion.alias_moved:
        _mirror_stage()
    return promotion


def _mirror_stage() -> None:
    """Set ZenML's own stage to production: a mirror, so a failure is reported and nothing more."""
    if not in_pipeline():
        return
    try:
        model = get_step_context().model
    except Exception:  # no ZenML model in this pipeline
        return
    try:
        model.set_stage(ModelStages.PRODUCTION, force=True)
    except Exception as error:
        _log.warning("ZenML's model stage could not follow MLflow's alias: %s", error)


pin(Promotion)
pin(promote_model.entrypoint)
