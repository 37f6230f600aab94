"""The audit inside a pipeline: one step, or shards of it side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from zenml import unmapped
from zenml.execution.pipeline.dynamic.run_context import DynamicPipelineRunContext
from zenml.steps import BaseStep

from camgate.errors import InputError
from camgate.steps import audit_heatmaps, audit_shard, merge_shards, plan_shards
from camgate.steps._request import AuditRequest


class Shards(BaseModel):
    """How an audit is split, `shards:` of a run configuration.

    Attributes:
        count: of shards.
        how: `static` is one step a shard, known when the pipeline is compiled, on every orchestrator;
            `dynamic` is ZenML's `.map`, on those that run dynamic pipelines.
        step: options of the step of every shard, those of ZenML's `step.with_options`: `settings` (resources,
            Docker, the orchestrator's own), `retry`, `step_operator`. For `static` only; a dynamic pipeline
            takes them from `steps: {audit_shard: ...}`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    count: int = Field(ge=1)
    how: Literal["static", "dynamic"] = "static"
    step: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def read(cls, options: Mapping[str, Any] | None) -> Shards | None:
        """From a run configuration; None is an audit in one step.

        Raises:
            InputError: an unknown key, or a value that cannot be used.
        """
        if options is None:
            return None
        try:
            shards = cls.model_validate(dict(options))
        except ValidationError as error:
            faults = "; ".join(
                f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()
            )
            raise InputError(f"shards: {faults}; the keys are count, how and step") from error
        if shards.step and shards.how == "dynamic":
            raise InputError(
                "shards: `step` is for `how: static`. In a dynamic pipeline the options of the shards' step "
                "are those of every other step: `steps: {audit_shard: {settings: ...}}`."
            )
        return shards

    def configured(self, step: BaseStep) -> BaseStep:
        """The step with the options of `step`.

        Raises:
            InputError: one that ZenML does not know.
        """
        try:
            return step.with_options(**self.step)
        except TypeError as error:
            raise InputError(f"shards: step: {error}; it takes those of ZenML's `with_options`") from error


def audited(
    *,
    manifest: Any,
    shards: Mapping[str, Any] | None,
    options: Mapping[str, Any] | None,
    policy: str | dict[str, Any] | None,
    experiment: str | None,
    after: str | None = None,
    **model: Any,
) -> Any:
    """The steps that audit, within the pipeline that is being compiled or, a dynamic one, being run.

    Args:
        manifest: output of `load_data`.
        shards: see `Shards`; None audits in one step.
        options: of `camgate.steps.audit_heatmaps`.
        policy: path of a YAML file, or its content.
        experiment: MLflow experiment.
        after: step that must come first.
        model: `model` or `source`.

    Returns:
        The step output that holds the `AuditResult`.

    Raises:
        InputError: see `check_audit`.
    """
    split = check_audit(options, shards)
    dynamic = DynamicPipelineRunContext.is_active()
    common = {"policy": policy, "experiment": experiment, **model, **in_order(after)}
    if split is None:
        return audit_heatmaps(manifest=manifest, **common, **(options or {}))
    plan, numbers = plan_shards(shards=split.count, options=dict(options or {}), **common)
    finished: Any
    if dynamic:
        finished = audit_shard.map(manifest=unmapped(manifest), plan=unmapped(plan), shard=numbers)
    else:
        one = split.configured(audit_shard)
        finished = [
            one(manifest=manifest, plan=plan, shard=number, id=f"{audit_shard.name}_{number}")
            for number in range(split.count)
        ]
    return merge_shards(manifest=manifest, plan=plan, finished=finished, experiment=experiment)


def in_order(after: str | None) -> dict[str, Any]:
    """Arguments that put a step behind another one that hands it nothing.

    A static pipeline takes its name; steps of a dynamic one run in the order of the calls anyway.
    """
    return {} if after is None or DynamicPipelineRunContext.is_active() else {"after": after}


def check_audit(options: Mapping[str, Any] | None, shards: Mapping[str, Any] | None = None) -> Shards | None:
    """Read what a run configuration says of the audit; a pipeline does it before anything runs.

    Args:
        options: of `camgate.steps.audit_heatmaps`.
        shards: see `Shards`.

    Raises:
        InputError: an unknown option (says the nearest), a value that cannot be used, or shards that are not
            for this kind of pipeline.
    """
    AuditRequest.read(options)
    split = Shards.read(shards)
    dynamic = DynamicPipelineRunContext.is_active()
    if split is not None and dynamic != (split.how == "dynamic"):
        raise InputError(
            f"shards: `how: {split.how}` in a {'dynamic' if dynamic else 'static'} pipeline. `run_audit` and "
            "`run_training` choose the right one; `dynamic_audit_pipeline` and `dynamic_training_pipeline` "
            "are the dynamic ones, and `retraining_pipeline` is dynamic, too."
        )
    return split
