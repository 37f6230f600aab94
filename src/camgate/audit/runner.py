"""`audit`: heatmaps, scores and interventions of one model on one data set."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib import metadata

import numpy as np
import pandas as pd
import torch

from camgate.audit.baselines import baselines
from camgate.audit.causal import Images, run_interventions
from camgate.audit.clusters import Cluster, Clusters, clusters_of
from camgate.audit.gallery import even_sample, make_gallery
from camgate.audit.onepass import heatmap_pass
from camgate.audit.result import AuditResult, AuditSettings, ClusterRecord
from camgate.audit.sanity import Sanity, check_sanity
from camgate.audit.views import SwapExample, class_averages
from camgate.data.cells import as_text
from camgate.data.dataset import ImageDataset, make_loader
from camgate.data.manifest import audited_rows, data_digest, validate_manifest
from camgate.data.regions import RegionRule, rule_from_json
from camgate.errors import InputError
from camgate.heatmaps.handed_in import MapFunction, choice_for, explainer_of, name_of
from camgate.heatmaps.layers import choose_layer, resolve_method
from camgate.models.classifier import Classifier

Progress = Callable[[str, int, int], None]
"""Called with (stage, done, total)."""

TARGETS = ("predicted", "label")
FILLS = ("inpaint", "median")
REGION_SAMPLE = 64
SPECKS = 0.05
SANITY_IMAGES = 64
CLUSTERS_SHOWN = 12
LIBRARIES = (
    "camgate",
    "torch",
    "torchvision",
    "grad-cam",
    "numpy",
    "pandas",
    "opencv-python-headless",
    "pillow",
)


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
    workers: int = 0,
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
        workers: loader processes.
        gallery_worst: pictures of the highest invalid activation to keep.
        gallery_sample: pictures of a random sample, stratified by class, to keep.
        progress: called with (stage, done, total).

    Returns:
        The audit's result.

    Raises:
        InputError: an option or the manifest cannot be used.
        ModelError: the model cannot be audited (no spatial layer, NaN logits, wrong layer name).
    """
    _validate(target, tolerance, draws, fill, margin, max_interventions, batch_size)
    manifest = validate_manifest(manifest, classes=model.classes)
    for column in (*slices, *match_on):
        if column not in manifest.columns:
            raise InputError(
                f"the manifest has no column {column!r} named in `slices` or `match_on`; it has "
                f"{', '.join(map(str, manifest.columns))}."
            )
    rows, warnings = audited_rows(manifest)
    warnings = (*warnings, *_changed_regions(rows))
    if model.head_in_words is not None:
        warnings = (*warnings, model.head_in_words)
    if rows["label"].nunique() < 2:
        raise InputError(
            f"all {len(rows)} audited images are labelled {rows['label'].iloc[0]!r}; an audit needs at least "
            "two classes."
        )
    report = progress or (lambda stage, done, total: None)
    dataset = ImageDataset(rows, model.preprocessing, model.classes)
    explained: str | MapFunction
    if isinstance(method, str):
        regions, sampled = _sample(dataset)
        choice = choose_layer(model, regions, requested=target_layer, images=sampled)
        explained = resolve_method(method, choice)
    elif target_layer is not None:
        raise InputError("`target_layer` is for methods by name; a function finds its maps itself.")
    else:
        choice, explained = choice_for(model, method), method
    settings = AuditSettings(
        method=explained if isinstance(explained, str) else name_of(explained),
        method_requested=method if isinstance(method, str) else name_of(method),
        target_layer=choice.name,
        target_layer_reason=choice.reason,
        target_layer_rule=choice.rule,
        map_size=choice.grid,
        target=target,
        tolerance=tolerance,
        interventions=interventions,
        draws=draws,
        fill=fill,
        margin=margin,
        match_on=tuple(match_on),
        slices=tuple(slices),
        seed=0,
        max_interventions=max_interventions,
        sanity=sanity and isinstance(explained, str),
    )
    report("fingerprint", 0, 1)
    digests = model.digest(), data_digest(rows)
    report("fingerprint", 1, 1)
    settings = settings.model_copy(update={"seed": derive_seed(*digests) if seed is None else seed})

    loader = make_loader(dataset, batch_size=batch_size, workers=workers)
    explainer = explainer_of(model, explained, choice.name)
    found = heatmap_pass(
        model, explainer, loader, settings, progress=lambda done: report("heatmaps", done, len(rows))
    )
    scores = _score_table(found.table, rows, settings)
    region_free = _region_free(scores)
    report("clusters", 0, 1)
    clusters = clusters_of(
        scores, found.maps, found.regions, tolerance=settings.tolerance, seed=settings.seed
    )
    report("clusters", 1, 1)
    warnings = (*warnings, *(_unmoved(cluster) for cluster in clusters.findings))
    images = Images(dataset)
    table: pd.DataFrame | None = None
    examples: tuple[SwapExample, ...] = ()
    if interventions:
        table, examples, notes = run_interventions(model, images, rows, scores, region_free, settings, report)
        warnings = (*warnings, *notes)
    found_sanity = _sanity(model, images, scores, settings, report) if settings.sanity else None
    return AuditResult(
        settings=settings,
        classes=model.classes,
        model_digest=digests[0],
        data_digest=digests[1],
        scores=scores,
        interventions=table,
        baselines=baselines(scores, found.maps, found.regions, settings),
        sanity=found_sanity,
        clusters=tuple(_record(cluster) for cluster in clusters.found),
        gallery=make_gallery(
            images,
            scores,
            found.maps,
            gallery_worst,
            gallery_sample,
            settings.seed,
            typical=_typical(clusters, found.maps),
        ),
        averages=class_averages(lambda row: images(row).image, scores, found.maps, seed=settings.seed),
        examples=examples,
        region_free=region_free,
        warnings=tuple(warnings),
        versions={name: metadata.version(name) for name in LIBRARIES},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        model_uri=model.model_uri,
    )


def _typical(clusters: Clusters, maps: np.ndarray) -> list[int]:
    """For each cluster the row whose map is most like its mean; fixed places and large ones first."""
    order = sorted(
        range(len(clusters.found)),
        key=lambda number: (not clusters.found[number].fixed_place, -clusters.found[number].images),
    )
    rows = []
    for number in order[:CLUSTERS_SHOWN]:
        members = np.flatnonzero(clusters.assignment == number)
        flat = maps[members].reshape(len(members), -1).astype(np.float64)
        flat /= np.linalg.norm(flat, axis=1, keepdims=True)
        mean = clusters.found[number].mean_map.ravel()
        rows.append(int(members[np.argmax(flat @ mean)]))
    return rows


def _unmoved(cluster: Cluster) -> str:
    return f"Fixed place: {cluster.in_words} Objects move, overlays do not."


def _record(cluster: Cluster) -> ClusterRecord:
    def known(value: float) -> float | None:
        return float(value) if np.isfinite(value) else None

    return ClusterRecord(
        label=cluster.label,
        images=cluster.images,
        groups=cluster.groups,
        mean_map=tuple(tuple(round(float(cell), 6) for cell in row) for row in cluster.mean_map),
        invalid_activation=known(cluster.invalid_activation),
        invalid_lift=known(cluster.invalid_lift),
        stability=known(cluster.stability),
        stability_low=known(cluster.stability_low),
        spread=cluster.spread,
        fixed_place=cluster.fixed_place,
        in_words=cluster.in_words,
    )


def _changed_regions(rows: pd.DataFrame) -> tuple[str, ...]:
    """What was done to the given masks: a grown region makes every share smaller, so the reader must know."""
    texts = [as_text(cell) for cell in rows["region_rule"]] if "region_rule" in rows else []
    rules = {text: rule_from_json(text) for text in set(texts)}
    return tuple(
        f"In {texts.count(text)} of {len(rows)} images {rule.in_words()}."
        for text, rule in sorted(rules.items())
        if rule != RegionRule()
    )


def derive_seed(model_digest: str, data_digest: str) -> int:
    """The seed that model and data themselves give, 0..2**32-1."""
    return int(hashlib.sha256(f"{model_digest}:{data_digest}".encode()).hexdigest()[:8], 16)


def _validate(
    target: str, tolerance: int, draws: int, fill: str, margin: float, max_interventions: int, batch_size: int
) -> None:
    for name, value, allowed in (("target", target, TARGETS), ("fill", fill, FILLS)):
        if value not in allowed:
            raise InputError(f"`{name}` must be one of {', '.join(allowed)}, not {value!r}.")
    for name, number, least in (
        ("tolerance", tolerance, 0),
        ("draws", draws, 1),
        ("max_interventions", max_interventions, 1),
        ("batch_size", batch_size, 1),
    ):
        if number < least:
            raise InputError(f"`{name}` must be at least {least}, not {number}.")
    if not 0 <= margin <= 0.5:
        raise InputError(f"`margin` is a share of the image side from 0 to 0.5, not {margin}.")


def _sample(dataset: ImageDataset) -> tuple[list[np.ndarray], torch.Tensor]:
    """Valid regions, and images, of rows spread over the set: for the choice of the layer."""
    chosen = np.unique(np.linspace(0, len(dataset) - 1, min(len(dataset), 4 * REGION_SAMPLE)).astype(int))
    regions: list[np.ndarray] = []
    images: list[torch.Tensor] = []
    for row in chosen:
        sample = dataset[int(row)]
        if sample.has_region:
            regions.append(np.asarray(sample.region))
            images.append(torch.as_tensor(sample.image))
        if len(regions) == REGION_SAMPLE:
            break
    return regions, torch.stack(images) if images else torch.zeros(0)


def _score_table(table: pd.DataFrame, rows: pd.DataFrame, settings: AuditSettings) -> pd.DataFrame:
    """The scores beside what the manifest says of each image."""
    kept = ["group", "split", *(column for column in settings.slices if column not in ("group", "split"))]
    split = rows.get("split", "test")
    manifest = rows.assign(split=split, group=rows["group"].astype(str))
    return pd.concat([manifest[["image_id", "label"]], table, manifest[kept]], axis=1)


def _region_free(scores: pd.DataFrame) -> tuple[str, ...]:
    """Classes without objects: no image has a region.

    Masks made by machine have specks, so an image in twenty may hold a region below one map cell.
    """
    readable = scores[scores["status"] != "unreadable"]
    by_class = readable["status"].groupby(readable["label"])
    return tuple(
        str(label)
        for label, status in by_class
        if status.eq("no_region").mean() >= 1 - SPECKS and not status.isin(["ok", "dead_map"]).any()
    )


def _sanity(
    model: Classifier, images: Images, scores: pd.DataFrame, settings: AuditSettings, report: Progress
) -> Sanity:
    """The explainer's sanity on a sample of the images whose map is alive."""
    usable = scores[~scores["status"].isin(["unreadable", "dead_map"])]
    rows = even_sample(usable, most=SANITY_IMAGES, seed=settings.seed)
    size = (0, model.preprocessing.channels, *model.preprocessing.size)
    batch = torch.zeros(size, dtype=torch.uint8)
    if len(rows):
        batch = torch.from_numpy(np.stack([images(int(row)).image for row in rows])).permute(0, 3, 1, 2)
    return check_sanity(
        model,
        batch.contiguous(),
        method=settings.method,
        layer=settings.target_layer,
        seed=settings.seed,
        progress=lambda done, total: report("sanity", done, total),
    )
