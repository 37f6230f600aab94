"""Run the pipelines of production from code or from the command line, and get what came of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from camgate.errors import CamgateError
from camgate.gate.verdict import Status, Verdict
from camgate.operate.delivery import Delivery
from camgate.operate.monitoring import Watched
from camgate.operate.plans import Plan, exit_code
from camgate.pipelines.monitoring import monitoring_pipeline
from camgate.pipelines.retraining import retraining_pipeline
from camgate.pipelines.running import output_of, run_pipeline
from camgate.registry.promotion import Promotion
from camgate.steps._progress import Listener
from camgate.steps.watch import Watch


@dataclass(frozen=True)
class RetrainingOutcome:
    """What a retraining came to.

    Attributes:
        action: `train`, or why it did not: `nothing_new`, `busy`, `drifted`.
        verdict: PASS | FAIL | INCONCLUSIVE | ERROR, also of the earlier decision; None where there is none.
        version: of the registered model that the decision is about; None where there is none.
        promoted: whether that version holds the alias because of it.
        sentence: what happened, in plain words.
        plan: with the comparison of the data.
        promotion: what the registry did; None where nothing was trained.
        deliveries: what became of the message.
        mlflow_run_id: of this run.
        pipeline_run_id: ZenML's.
    """

    action: str
    verdict: Status | None
    version: int | None
    promoted: bool
    sentence: str
    plan: Plan
    promotion: Promotion | None
    deliveries: tuple[Delivery, ...]
    mlflow_run_id: str | None
    pipeline_run_id: str

    @property
    def exit_code(self) -> int:
        """Of the command line."""
        if self.promotion is not None and self.promotion.status == "waived":
            return Status.FAIL.exit_code
        return exit_code(self.verdict, promoted=self.promoted)


def run_retraining(
    *,
    config_path: str | Path | None = None,
    settings: dict[str, Any] | None = None,
    progress: Listener | None = None,
    **parameters: Any,
) -> RetrainingOutcome:
    """Run `retraining_pipeline` on the active stack and wait for it.

    Args:
        config_path: YAML run configuration; a value must not be given both in it and in `parameters`.
        settings: further arguments of ZenML's `pipeline.with_options`.
        progress: called with (stage, done, total) where the steps run in this process.
        parameters: of `retraining_pipeline`.

    Returns:
        The outcome, also of a blocked run.

    Raises:
        CamgateError: what a step found wrong, e.g. faults in the data. It has been told before.
    """
    run = run_pipeline(
        retraining_pipeline, parameters, config_path=config_path, settings=settings, progress=progress
    )
    plan = cast(Plan | None, output_of(run, "plan_retraining", "plan"))
    if plan is None:
        raise CamgateError(f"the run {run.name} ended before it had a plan; ZenML's record of it says why")
    verdict = cast(Verdict | None, output_of(run, "gate_promotion", "verdict"))
    promotion = cast(Promotion | None, output_of(run, "promote_model", "promotion"))
    told = output_of(run, "notify_outcome", "deliveries") or ()
    judged = verdict is not None and promotion is not None
    said = (verdict.sentence, promotion.sentence) if verdict is not None and promotion is not None else ()
    gate = run.steps.get("gate_promotion")
    return RetrainingOutcome(
        action=plan.action,
        verdict=verdict.status if verdict is not None else plan.verdict,
        version=promotion.version if promotion is not None else plan.version,
        promoted=promotion.alias_moved if promotion is not None else plan.promoted,
        sentence=" ".join(said) if judged else plan.sentence,
        plan=plan,
        promotion=promotion,
        deliveries=tuple(Delivery.model_validate(each) for each in told),
        mlflow_run_id=None if gate is None else str(gate.run_metadata["mlflow_run_id"]),
        pipeline_run_id=str(run.id),
    )


@dataclass(frozen=True)
class MonitoringOutcome:
    """What a continuous audit came to.

    Attributes:
        action: `audit`, or why it did not: `nothing_new`, `unverified`.
        sentence: what happened, in plain words.
        watch: which version, and what `verify` says of it.
        watched: what the charts say; None where nothing was audited.
        verdict: of the gate on the fresh images; None where nothing was audited.
        pipeline_run_id: ZenML's.
    """

    action: str
    sentence: str
    watch: Watch
    watched: Watched | None
    verdict: Verdict | None
    pipeline_run_id: str

    @property
    def exit_code(self) -> int:
        """Of the command line: 1 on an alarm or an unverified champion, else the verdict's.

        Where there is nothing new it is that of the newest audit.
        """
        seen = self.watched or self.watch.seen
        if self.action == "unverified" or (seen is not None and seen.status == "alarm"):
            return Status.FAIL.exit_code
        verdict = self.watch.verdict if self.verdict is None else self.verdict.status
        return (verdict or Status.ERROR).exit_code


def run_monitoring(
    *,
    config_path: str | Path | None = None,
    settings: dict[str, Any] | None = None,
    progress: Listener | None = None,
    **parameters: Any,
) -> MonitoringOutcome:
    """Run `monitoring_pipeline` on the active stack and wait for it; see `run_retraining`."""
    run = run_pipeline(
        monitoring_pipeline, parameters, config_path=config_path, settings=settings, progress=progress
    )
    watch = cast(Watch | None, output_of(run, "check_champion", "watch"))
    if watch is None:
        raise CamgateError(f"the run {run.name} ended before it looked; ZenML's record of it says why")
    seen = cast(Watched | None, output_of(run, "chart_audit", "watched"))
    return MonitoringOutcome(
        action=watch.action,
        sentence=watch.sentence if seen is None else seen.sentence,
        watch=watch,
        watched=seen,
        verdict=cast(Verdict | None, output_of(run, "gate_promotion", "verdict")),
        pipeline_run_id=str(run.id),
    )
