"""Pipeline: train, evaluate, audit heatmaps, gate, promote."""

from __future__ import annotations

from typing import Any

from zenml import pipeline
from zenml.enums import ExecutionMode

from camgate.gate.policy import Policy
from camgate.materializers.sources import pin
from camgate.pipelines.dynamic import ENVIRONMENT, twin
from camgate.pipelines.sharding import audited, check_audit, in_order
from camgate.steps import (
    audit_champion,
    audit_heatmaps,
    audit_shard,
    drill_gate,
    enforce_verdict,
    evaluate_model,
    gate_promotion,
    load_data,
    merge_shards,
    plan_shards,
    promote_model,
    train_model,
)
from camgate.steps.champion import champion_options


# Fail fast: nothing is promoted after another step broke, and the caller gets the step's own exception.
@pipeline(name="camgate_training", execution_mode=ExecutionMode.FAIL_FAST)
def training_pipeline(
    data: str,
    model_name: str = "camgate",
    policy: str | dict[str, Any] | None = None,
    data_options: dict[str, Any] | None = None,
    training: dict[str, Any] | None = None,
    audit: dict[str, Any] | None = None,
    shards: dict[str, Any] | None = None,
    champion: dict[str, Any] | None = None,
    drill: dict[str, Any] | None = None,
    share_pass: bool = False,
    alias: str = "champion",
    experiment: str | None = None,
) -> None:
    """Train a classifier, audit where it looks, and promote it if it passes the gate.

    Args:
        data: manifest file or folder, see `camgate.steps.load_data`.
        model_name: registered model in MLflow.
        policy: path of a YAML file, or its content; None takes the default policy.
        data_options: how the data are read and where valid pixels are, see `camgate.steps.load_data`.
        training: options of `camgate.steps.train_model`, such as `builder`, `epochs`, `seed`; for transfer
            learning `weights` and `frozen_epochs`.
        audit: options of `camgate.steps.audit_heatmaps`, such as `method`, `interventions`, `slices`.
        shards: audit in shards, such as `{count: 8, how: static}`, see `camgate.pipelines.Shards`; None is
            one step.
        champion: options of `camgate.steps.audit_champion`, such as `classes`; the step runs where the policy
            has the check `champion`.
        drill: options of `camgate.steps.drill_gate`, such as `minutes`: plant shortcuts in copies of the
            model and see what the gate blocks. Done also without, where the policy requires it.
        share_pass: evaluate after the audit, by its predictions, so that the test images pass through the
            network once for both; otherwise before it, by a pass of its own. The numbers are the same.
        alias: moves to the new version on PASS.
        experiment: MLflow experiment; by default the pipeline's name.
    """
    check_audit(audit, shards)
    manifest = load_data(data=data, options=data_options)
    verdict, promotion, _ = trained_and_judged(
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
    enforce_verdict(verdict=verdict, promotion=promotion, experiment=experiment)


def trained_and_judged(
    manifest: Any,
    *,
    model_name: str,
    policy: str | dict[str, Any] | None,
    training: dict[str, Any] | None,
    audit: dict[str, Any] | None,
    champion: dict[str, Any] | None,
    drill: dict[str, Any] | None,
    shards: dict[str, Any] | None,
    share_pass: bool,
    alias: str,
    experiment: str | None,
) -> tuple[Any, Any, Any]:
    """The steps from training to promotion, inside a pipeline; verdict, promotion and audit as artifacts."""
    classifier, history, parameters = train_model(manifest=manifest, **(training or {}))
    trained = {"classifier": classifier, "history": history, "parameters": parameters}
    if not share_pass:
        evaluate_model(manifest=manifest, experiment=experiment, **trained)
    result = audited(
        manifest=manifest,
        model=classifier,
        policy=policy,
        options=audit,
        shards=shards,
        experiment=experiment,
        after=None if share_pass else "evaluate_model",
    )
    if share_pass:
        evaluate_model(manifest=manifest, experiment=experiment, result=result, **trained)
    terms = Policy.read(policy)
    rival = None
    if "champion" in terms.checks:
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
            manifest=manifest,
            result=result,
            model=classifier,
            policy=policy,
            experiment=experiment,
            **(drill or {}),
        )
    verdict = gate_promotion(
        result=result,
        policy=policy,
        champion=rival,
        drill=drilled,
        experiment=experiment,
        **in_order("evaluate_model"),
    )
    promotion = promote_model(
        verdict=verdict,
        result=result,
        name=model_name,
        alias=alias,
        champion=rival,
        drill=drilled,
        experiment=experiment,
    )
    return verdict, promotion, result


pin(training_pipeline.entrypoint)

dynamic_training_pipeline = pipeline(
    name="camgate_training_dynamic",
    dynamic=True,
    execution_mode=ExecutionMode.FAIL_FAST,
    environment=ENVIRONMENT,
    # Those that may run: their settings are read from a run configuration, and their images built, before.
    depends_on=[
        load_data,
        train_model,
        evaluate_model,
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
)(twin(training_pipeline.entrypoint, "dynamic_training_pipeline"))
"""`training_pipeline` as a dynamic pipeline of ZenML, for `shards: {how: dynamic}`."""
