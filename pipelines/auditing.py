"""Pipeline: audit a model that already exists, and promote it if it passes the gate."""

from __future__ import annotations

from typing import Any

from zenml import pipeline
from zenml.enums import ExecutionMode

from camgate.gate.policy import Policy
from camgate.materializers.sources import pin
from camgate.pipelines.dynamic import ENVIRONMENT, twin
from camgate.pipelines.sharding import audited, check_audit
from camgate.steps import (
    audit_champion,
    audit_heatmaps,
    audit_shard,
    drill_gate,
    enforce_verdict,
    gate_promotion,
    load_data,
    merge_shards,
    plan_shards,
    promote_model,
)
from camgate.steps.champion import champion_options


@pipeline(name="camgate_audit", execution_mode=ExecutionMode.FAIL_FAST)
def audit_pipeline(
    data: str,
    model: str,
    model_name: str | None = None,
    policy: str | dict[str, Any] | None = None,
    data_options: dict[str, Any] | None = None,
    audit: dict[str, Any] | None = None,
    shards: dict[str, Any] | None = None,
    champion: dict[str, Any] | None = None,
    drill: dict[str, Any] | None = None,
    alias: str = "champion",
    experiment: str | None = None,
) -> None:
    """Audit a saved or logged model and judge it; with `model_name`, register and promote it too.

    Args:
        data: manifest file or folder, see `camgate.steps.load_data`.
        model: folder of a saved classifier, or an MLflow URI (`models:/name@champion`, `runs:/…`).
        model_name: registered model in MLflow; None only judges.
        policy: path of a YAML file, or its content; None takes the default policy.
        data_options: how the data are read and where valid pixels are, see `camgate.steps.load_data`.
        audit: options of `camgate.steps.audit_heatmaps`, such as `method`, `slices`, `allow_pickle`.
        shards: audit in shards, such as `{count: 8, how: static}`, see `camgate.pipelines.Shards`; None is
            one step.
        champion: options of `camgate.steps.audit_champion`, such as `classes`; the step runs where the policy
            has the check `champion`.
        drill: options of `camgate.steps.drill_gate`, such as `minutes`: plant shortcuts in copies of the
            model and see what the gate blocks. Done also without, where the policy requires it.
        alias: moves to the new version on PASS.
        experiment: MLflow experiment; by default the pipeline's name.
    """
    check_audit(audit, shards)
    manifest = load_data(data=data, options=data_options)
    result = audited(
        manifest=manifest, source=model, policy=policy, options=audit, shards=shards, experiment=experiment
    )
    terms = Policy.read(policy)
    rival = None  # then the check is an ERROR, if there is one
    if model_name is not None and "champion" in terms.checks:
        rival = audit_champion(
            manifest=manifest,
            result=result,
            name=model_name,
            alias=alias,
            experiment=experiment,
            **champion_options(audit, champion),
        )
    drilled = None
    if drill is not None or terms.require_drill:
        drilled = drill_gate(
            manifest=manifest, result=result, policy=policy, experiment=experiment, **(drill or {})
        )
    verdict = gate_promotion(
        result=result, policy=policy, champion=rival, drill=drilled, experiment=experiment
    )
    if model_name is None:
        enforce_verdict(verdict=verdict, experiment=experiment)
        return
    promotion = promote_model(
        verdict=verdict,
        result=result,
        name=model_name,
        alias=alias,
        champion=rival,
        drill=drilled,
        experiment=experiment,
    )
    enforce_verdict(verdict=verdict, promotion=promotion, experiment=experiment)


pin(audit_pipeline.entrypoint)

dynamic_audit_pipeline = pipeline(
    name="camgate_audit_dynamic",
    dynamic=True,
    execution_mode=ExecutionMode.FAIL_FAST,
    environment=ENVIRONMENT,
    # Those that may run: their settings are read from a run configuration, and their images built, before.
    depends_on=[
        load_data,
        audit_heatmaps,
        plan_shards,
        audit_shard,
        merge_shards,
        audit_champion,
        drill_gate,
        gate_promotion,
        promote_model,
        enforce_verdict,
    ],
)(twin(audit_pipeline.entrypoint, "dynamic_audit_pipeline"))
"""`audit_pipeline` as a dynamic pipeline of ZenML, for `shards: {how: dynamic}`."""
