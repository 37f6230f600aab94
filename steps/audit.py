"""Step: the audit of a model, its own or anybody's."""

from __future__ import annotations

from typing import Annotated, Any

import pandas as pd
from torch import nn
from zenml import step

import camgate.materializers  # noqa: F401  (registers them)
from camgate.audit.result import AuditResult
from camgate.audit.runner import audit
from camgate.data.preprocessing import Preprocessing
from camgate.materializers.sources import pin
from camgate.models.classifier import Classifier
from camgate.registry.flavor import log_where_new
from camgate.registry.tracking import log_audited
from camgate.steps._progress import reporter
from camgate.steps._request import AuditRequest
from camgate.steps._tracking import tracked


@step(enable_cache=False)
def audit_heatmaps(
    manifest: pd.DataFrame,
    model: Classifier | nn.Module | None = None,
    source: str | None = None,
    classes: list[str] | None = None,
    preprocessing: Preprocessing | None = None,
    builder: str | None = None,
    builder_args: dict[str, Any] | None = None,
    policy: str | dict[str, Any] | None = None,
    method: str | None = None,
    target_layer: str | None = None,
    target: str | None = None,
    interventions: bool | None = None,
    tolerance: int | None = None,
    draws: int | None = None,
    fill: str | None = None,
    margin: float | None = None,
    match_on: list[str] | None = None,
    slices: list[str] | None = None,
    seed: int | None = None,
    max_interventions: int = 1000,
    batch_size: int = 32,
    workers: int | None = None,
    gallery_worst: int = 24,
    gallery_sample: int = 24,
    allow_code: bool = False,
    allow_pickle: bool = False,
    experiment: str | None = None,
) -> Annotated[AuditResult, "audit"]:
    """Audit where a model looks and what it decides on. Judges nothing; never cached.

    What is audited is what is logged: a model that is not in MLflow yet is logged first. A plain module
    without `builder` cannot be logged; it is audited all the same, and cannot be promoted afterwards.

    Args:
        manifest: the data, see `load_data`.
        model: a `Classifier`, or a plain module `(B, 3, H, W) -> (B, classes)`; or else
        source: folder of a saved classifier, an MLflow URI such as `models:/name@champion`, or a file of
            weights (then with `classes`, `preprocessing` and `builder`).
        classes: names of the outputs, in order, where the model does not hold them.
        preprocessing: how images become the model's input, where it does not hold that.
        builder: how to make a plain module again (`torchvision:resnet18`, `package.module:callable`); with
            it the module is logged to MLflow.
        builder_args: arguments of the builder.
        policy: whose `audit:` section the options below default to; path, content or None (the default).
        method: explainer by name.
        target_layer: module name; None takes the model's own, else the rule's choice.
        target: explain the `predicted` class or the `label`.
        interventions: also swap backgrounds.
        tolerance: map cells by which the valid region is grown.
        draws: donor pairs per recipient.
        fill: how donors' objects are removed, `inpaint` or `median`.
        margin: widening of kept objects, as a share of the shorter image side.
        match_on: manifest columns on which donor and recipient must agree.
        slices: manifest columns to report and judge separately.
        seed: None derives it from model and data.
        max_interventions: recipients at most.
        batch_size: images per forward pass.
        workers: loader processes.
        gallery_worst: pictures of the highest invalid activation to keep.
        gallery_sample: pictures of a random sample to keep.
        allow_code: `source` may name a builder by import path, whose code then runs.
        allow_pickle: `source` may be a model that others logged with pickle.
        experiment: MLflow experiment; by default the pipeline's name.

    Raises:
        InputError: no model or two, or an option cannot be used.
        ModelError: the model cannot be audited.
        RegistryError: MLflow cannot be reached.
    """
    request = AuditRequest(
        classes=None if classes is None else tuple(classes),
        preprocessing=preprocessing,
        builder=builder,
        builder_args=builder_args,
        method=method,
        target_layer=target_layer,
        target=target,
        interventions=interventions,
        tolerance=tolerance,
        draws=draws,
        fill=fill,
        margin=margin,
        match_on=None if match_on is None else tuple(match_on),
        slices=tuple(slices or ()),
        seed=seed,
        max_interventions=max_interventions,
        batch_size=batch_size,
        workers=workers,
        gallery_worst=gallery_worst,
        gallery_sample=gallery_sample,
        allow_code=allow_code,
        allow_pickle=allow_pickle,
    )
    arguments = request.arguments(policy)
    with tracked(experiment) as run:
        classifier = request.classifier(model, source, tracking_uri=run.uri)
        log_where_new(classifier, run_id=run.run_id, tracking_uri=run.uri)
        result = audit(classifier, manifest, progress=reporter(), **arguments)
        log_audited(run.run_id, result, manifest, tracking_uri=run.uri)
    return result


pin(audit_heatmaps.entrypoint)
