"""Pipeline: audit the champion again on fresh images, and see over time whether it still holds."""

from __future__ import annotations

from typing import Any

from zenml import pipeline
from zenml.enums import ExecutionMode

from camgate.errors import PromotionBlocked
from camgate.materializers.sources import pin
from camgate.operate.charts import ChartOptions
from camgate.operate.delivery import NotifyOptions
from camgate.operate.monitoring import Watched
from camgate.operate.options import read_options
from camgate.pipelines.dynamic import ENVIRONMENT
from camgate.pipelines.sharding import check_audit
from camgate.steps import (
    audit_heatmaps,
    chart_audit,
    check_champion,
    enforce_verdict,
    gate_promotion,
    load_data,
)
from camgate.steps.notify import tell
from camgate.steps.watch import Watch


# Dynamic: whether anything is audited is known only when the champion and the data have been looked at.
@pipeline(
    name="camgate_monitoring", dynamic=True, execution_mode=ExecutionMode.FAIL_FAST, environment=ENVIRONMENT
)
def monitoring_pipeline(
    data: str,
    model_name: str,
    policy: str | dict[str, Any] | None = None,
    data_options: dict[str, Any] | None = None,
    audit: dict[str, Any] | None = None,
    charts: dict[str, Any] | None = None,
    notify: dict[str, Any] | None = None,
    keys: list[str] | None = None,
    require_proof: bool = False,
    alias: str = "champion",
    experiment: str = "camgate_monitoring",
) -> None:
    """Verify the champion, audit it on fresh images, judge it, chart it, and raise an alarm when it drifts.

    Nothing is registered and no alias moves. The same images are audited once.

    Args:
        data: fresh labelled images with valid regions, see `camgate.steps.load_data`.
        model_name: registered model in MLflow.
        policy: path of a YAML file, or its content; None takes the default policy. Leave the check `champion`
            out of it: the champion is not compared with itself.
        data_options: how the data are read and where valid pixels are.
        audit: options of `camgate.steps.audit_heatmaps`.
        charts: baseline and limits: `camgate.operate.charts.ChartOptions`.
        notify: whom to tell, and how: `camgate.operate.delivery.NotifyOptions`.
        keys: files of trusted public keys; by default `CAMGATE_TRUSTED_KEYS`.
        require_proof: whether a champion that can only not be proven is taken for one that does not verify.
        alias: that the champion holds.
        experiment: MLflow experiment.

    Raises:
        PromotionBlocked: an alarm, a champion that does not verify, or a verdict that is not PASS where the
            policy says `on_block: fail`. All have been told before.
    """
    try:
        read_options(NotifyOptions, notify, "notify")  # better now than after the audit
        read_options(ChartOptions, charts, "charts")
        check_audit(audit)
        manifest = load_data(data=data, options=data_options)
        checked = check_champion(
            manifest=manifest,
            name=model_name,
            alias=alias,
            keys=keys,
            require_proof=require_proof,
            options=charts,
            experiment=experiment,
        )
        watch: Watch = checked.load()
        if watch.action == "nothing_new":
            return
        if watch.action == "unverified":
            tell("unverified", model_name, watch.sentence, notify)
            raise PromotionBlocked(watch.sentence)
        result = audit_heatmaps(
            manifest=manifest, source=watch.uri, policy=policy, experiment=experiment, **(audit or {})
        )
        verdict = gate_promotion(result=result, policy=policy, experiment=experiment)
        found = chart_audit(
            watch=checked,
            result=result,
            verdict=verdict,
            name=model_name,
            options=charts,
            notify=notify,
            experiment=experiment,
        )
        seen: Watched = found.load()
        if seen.status == "alarm":
            raise PromotionBlocked(seen.sentence)
        enforce_verdict(verdict=verdict, experiment=experiment)
    except PromotionBlocked:  # told already
        raise
    except Exception as error:
        tell("error", model_name, f"The audit of the champion broke: {error}", notify)
        raise


pin(monitoring_pipeline.entrypoint)
