"""`audit`: heatmaps, scores and interventions of one model on one data set."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from camgate.audit.finishing import derive_seed, finish
from camgate.audit.onepass import heatmap_pass
from camgate.audit.preparing import AuditOptions, Progress, prepare
from camgate.audit.profile import stage
from camgate.audit.result import AuditResult
from camgate.data.manifest import data_digest
from camgate.heatmaps.handed_in import MapFunction
from camgate.models.classifier import Classifier

__all__ = ["Progress", "audit", "derive_seed"]


def audit(
    model: Classifier,
    manifest: pd.DataFrame,
    *,
    method: str | MapFunction = "auto",
    target_layer: str | None = None,
    target: str = "predicted",
    interventions: bool = True,
    slices: Sequence[str] = (),
    seed: int | None = None,
    tolerance: int = 1,
    draws: int = 3,
    fill: str = "inpaint",
    margin: float = 0.05,
    match_on: Sequence[str] = (),
    max_interventions: int = 1000,
    sanity: bool = True,
    batch_size: int = 32,
    workers: int | None = None,
    gallery_worst: int = 24,
    gallery_sample: int = 24,
    progress: Progress | None = None,
) -> AuditResult:
    """Audit where a classifier looks and what it decides on.

    Args:
        model: the classifier; it is left exactly as it was.
        manifest: one row per image, see `load_manifest`. Audited are the rows with `split == "test"`
            where the column exists, else all.
        method: explainer by name; `auto` is gradcam at the last stage of a net that ends in global
            pooling and hirescam at any other layer. Or a function that returns raw maps, see
            `camgate.heatmaps.handed_in.MapFunction`: for looking, no verdict rests on it.
        target_layer: module name; None takes the model's own, else the rule's choice.
        target: explain the `predicted` class or the `label`.
        interventions: also swap backgrounds; False gives heatmaps and scores only.
        slices: manifest columns to report and judge separately.
        seed: of donors, samples and bootstraps; None derives it from model and data digest, so that it
            cannot be shopped for.
        tolerance: cells by which the valid region is grown on the map, >= 0.
        draws: donor pairs per recipient, >= 1.
        fill: how donors' objects are removed: `inpaint`, or `median` of the fixed camera (column `camera`
            where there are several).
        margin: widening of kept objects, as a share of the shorter image side, 0..0.5.
        match_on: manifest columns on which donor and recipient must agree (night with night).
        max_interventions: recipients at most, spread evenly over classes and groups.
        sanity: also hold the maps against those of the network with random weights, on a sample.
        batch_size: images per forward pass; changes no score.
        workers: loader processes; None: what suits the machine, see `loader_workers`.
        gallery_worst: pictures of the highest invalid activation to keep.
        gallery_sample: pictures of a random sample, stratified by class, to keep.
        progress: called with (stage, done, total).

    Returns:
        The audit's result.

    Raises:
        InputError: an option or the manifest cannot be used.
        ModelError: the model cannot be audited (no spatial layer, NaN logits, wrong layer name).
    """
    options = AuditOptions(
        method=method,
        target_layer=target_layer,
        target=target,
        interventions=interventions,
        slices=tuple(slices),
        seed=seed,
        tolerance=tolerance,
        draws=draws,
        fill=fill,
        margin=margin,
        match_on=tuple(match_on),
        max_interventions=max_interventions,
        sanity=sanity,
        batch_size=batch_size,
        workers=workers,
        gallery_worst=gallery_worst,
        gallery_sample=gallery_sample,
    )
    report = progress or (lambda stage, done, total: None)
    prepared = prepare(model, manifest, options)
    report("fingerprint", 0, 1)
    with stage("fingerprint"):
        digests = model.digest(), data_digest(prepared.rows)
    report("fingerprint", 1, 1)
    found = heatmap_pass(prepared, progress=lambda done: report("heatmaps", done, len(prepared.rows)))
    return finish(prepared, found, model_digest=digests[0], data_digest=digests[1], report=report)
