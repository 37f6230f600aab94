"""Pipeline: retrain on new data, and let the gate decide; made to be run on a schedule."""

from __future__ import annotations

from typing import Any

from zenml import pipeline
from zenml.enums import ExecutionMode

from camgate.errors import PromotionBlocked
from camgate.materializers.sources import pin
from camgate.operate.delivery import NotifyOptions
from camgate.operate.options import read_options
from camgate.operate.plans import Plan
from camgate.pipelines.dynamic import ENVIRONMENT
from camgate.pipelines.sharding import check_audit
from camgate.pipelines.training import trained_and_judged
from camgate.registry.retraining import LEASE
from camgate.steps import enforce_verdict, load_data, notify_outcome, plan_retraining, record_retraining
from camgate.steps.notify import tell
from camgate.steps.plan import give_back


# Dynamic: whether anything is trained is known only when the data have been read.
@pipeline(
    name="camgate_retraining", dynamic=True, execution_mode=ExecutionMode.FAIL_FAST, environment=ENVIRONMENT
)
def retraining_pipeline(
    data: str,
    model_name: str = "camgate",
    policy: str | dict[str, Any] | None = None,
    data_options: dict[str, Any] | None = None,
    training: dict[str, Any] | None = None,
    audit: dict[str, Any] | None = None,
    champion: dict[str, Any] | None = None,
    drill: dict[str, Any] | None = None,
    shards: dict[str, Any] | None = None,
    share_pass: bool = False,
    drift: dict[str, Any] | None = None,
    notify: dict[str, Any] | None = None,
    code_version: str = "",
    lease_hours: float = LEASE / 3600,
    alias: str = "champion",
    experiment: str | None = None,
) -> None:
    """Validate and compare the data, train, audit, gate, promote or refuse, notify, enforce.

    The same data, options, policy and code give the same decision: the run then ends early and says so.
    While another retraining of the same alias is at work, it ends as well. Every end but these two is told.

    Args:
        data: manifest file or folder, see `camgate.steps.load_data`.
        model_name: registered model in MLflow.
        policy: path of a YAML file, or its content; None takes the default policy.
        data_options: how the data are read and where valid pixels are, see `camgate.steps.load_data`.
        training: options of `camgate.steps.train_model`.
        audit: options of `camgate.steps.audit_heatmaps`.
        champion: options of `camgate.steps.audit_champion`; it runs where the policy compares.
        drill: options of `camgate.steps.drill_gate`.
        shards: audit in shards, `{count: 8, how: dynamic}`, see `camgate.pipelines.Shards`; None is one step.
        share_pass: evaluate by the audit's predictions, see `training_pipeline`.
        drift: when data have drifted, and what follows: `camgate.operate.drift.DriftLimits`.
        notify: whom to tell, and how: `camgate.operate.delivery.NotifyOptions`.
        code_version: of your own code, such as the commit; another one makes the same data new.
        lease_hours: after which another retraining may take this one for dead.
        alias: moves to the new version on PASS.
        experiment: MLflow experiment; by default the pipeline's name.

    Raises:
        PromotionBlocked: not PASS, where the policy says `on_block: fail`; or the data have drifted, where
            `drift` says `on_drift: block`.
    """
    plan: Plan | None = None
    try:
        read_options(NotifyOptions, notify, "notify")  # better now than after the training
        check_audit(audit, shards)
        manifest = load_data(data=data, options=data_options)
        planned = plan_retraining(
            manifest=manifest,
            name=model_name,
            alias=alias,
            policy=policy,
            options={"training": training, "audit": audit, "champion": champion, "drill": drill},
            drift=drift,
            code_version=code_version,
            lease_hours=lease_hours,
            experiment=experiment,
        )
        plan = planned.load()
        if plan.action in {"nothing_new", "busy"}:
            return
        if plan.action == "drifted":
            tell("drift", model_name, plan.sentence, notify)
            raise PromotionBlocked(plan.sentence)
        verdict, promotion, result = trained_and_judged(
            manifest,
            model_name=model_name,
            policy=policy,
            training=training,
            audit=audit,
            champion=champion,
            drill=drill,
            shards=shards,
            share_pass=share_pass,
            alias=alias,
            experiment=experiment,
        )
        record_retraining(plan=planned, verdict=verdict, promotion=promotion)
        notify_outcome(
            verdict=verdict,
            result=result,
            name=model_name,
            promotion=promotion,
            drift=plan.drift,
            options=notify,
            experiment=experiment,
        )
        enforce_verdict(verdict=verdict, promotion=promotion, experiment=experiment)
    except PromotionBlocked:  # told already
        raise
    except Exception as error:
        tell("error", model_name, f"The retraining broke: {error}", notify)
        raise
    finally:
        if plan is not None and plan.owner:
            give_back(model_name, alias, plan.owner)


pin(retraining_pipeline.entrypoint)
