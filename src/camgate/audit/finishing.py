"""What follows once every image has its map: clusters, baselines, interventions, sanity, pictures."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from importlib import metadata

import numpy as np
import pandas as pd
import torch

from camgate.audit.baselines import baselines
from camgate.audit.causal import Images, run_interventions
from camgate.audit.clusters import Cluster, Clusters, clusters_of
from camgate.audit.gallery import make_gallery
from camgate.audit.onepass import Pass
from camgate.audit.preparing import Prepared, Progress
from camgate.audit.profile import stage
from camgate.audit.result import SCORE_COLUMNS, AuditResult, AuditSettings, ClusterRecord
from camgate.audit.sanity import Sanity, alive, check_sanity
from camgate.audit.views import SwapExample, class_averages
from camgate.data.sampling import even_sample
from camgate.models.classifier import Classifier

SPECKS = 0.05
SANITY_IMAGES = 50
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


def finish(
    prepared: Prepared, found: Pass, *, model_digest: str, data_digest: str, report: Progress
) -> AuditResult:
    """The audit's result from the maps of all images.

    The work is bounded whatever the number of images: interventions, sanity, clusters and pictures each
    have a largest number.

    Args:
        prepared: the audit before its first heatmap.
        found: rows in the order of `prepared.rows`.
        model_digest: of the model.
        data_digest: of the rows, files included.
        report: called with (stage, done, total).

    Raises:
        ModelError: NaN outputs on images with swapped backgrounds.
    """
    model, options, rows = prepared.model, prepared.options, prepared.rows
    seed = derive_seed(model_digest, data_digest) if options.seed is None else options.seed
    settings = prepared.settings.model_copy(update={"seed": seed})
    warnings = prepared.warnings
    scores = _score_table(found.table, rows, settings)
    region_free = _region_free(scores)
    report("clusters", 0, 1)
    with stage("clusters"):
        clusters = clusters_of(scores, found.maps, found.regions, tolerance=settings.tolerance, seed=seed)
    report("clusters", 1, 1)
    warnings = (*warnings, *(_unmoved(cluster) for cluster in clusters.findings))
    images = Images(prepared.dataset)
    table: pd.DataFrame | None = None
    examples: tuple[SwapExample, ...] = ()
    if settings.interventions:
        with stage("interventions"):
            table, examples, notes = run_interventions(
                model, images, rows, scores, region_free, settings, report
            )
        warnings = (*warnings, *notes)
    with stage("sanity"):
        sane = _sanity(model, images, scores, found.maps, settings, report) if settings.sanity else None
    with stage("baselines"):
        chance = baselines(scores, found.maps, found.regions, settings)
    with stage("pictures"):
        gallery = make_gallery(
            images,
            scores,
            found.maps,
            options.gallery_worst,
            options.gallery_sample,
            seed,
            typical=_typical(clusters, found.maps),
        )
        averages = class_averages(lambda row: images(row).image, scores, found.maps, seed=seed)
    return AuditResult(
        settings=settings,
        classes=model.classes,
        model_digest=model_digest,
        data_digest=data_digest,
        scores=scores,
        interventions=table,
        baselines=chance,
        sanity=sane,
        clusters=tuple(_record(cluster) for cluster in clusters.found),
        gallery=gallery,
        averages=averages,
        examples=examples,
        region_free=region_free,
        warnings=tuple(warnings),
        versions={name: metadata.version(name) for name in LIBRARIES},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        model_uri=model.model_uri,
    )


def derive_seed(model_digest: str, data_digest: str) -> int:
    """The seed that model and data themselves give, 0..2**32-1."""
    return int(hashlib.sha256(f"{model_digest}:{data_digest}".encode()).hexdigest()[:8], 16)


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


def _score_table(table: pd.DataFrame, rows: pd.DataFrame, settings: AuditSettings) -> pd.DataFrame:
    """The scores beside what the manifest says of each image."""
    kept = ["group", "split", *(column for column in settings.slices if column not in ("group", "split"))]
    split = rows.get("split", "test")
    manifest = rows.assign(split=split, group=rows["group"].astype(str))
    named = [name for name in SCORE_COLUMNS if name in table]
    return pd.concat([manifest[["image_id", "label"]], table[named], manifest[kept]], axis=1)


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
    model: Classifier,
    images: Images,
    scores: pd.DataFrame,
    maps: np.ndarray,
    settings: AuditSettings,
    report: Progress,
) -> Sanity:
    """The explainer's sanity on a sample of the images whose map is alive."""
    rows = even_sample(scores[alive(maps)], most=SANITY_IMAGES, seed=settings.seed)
    size = (0, model.preprocessing.channels, *model.preprocessing.size)
    batch = torch.zeros(size, dtype=torch.uint8)
    if len(rows):
        batch = torch.from_numpy(np.stack([images(int(row)).image for row in rows])).permute(0, 3, 1, 2)
    targets = pd.Index(model.classes).get_indexer(scores.loc[rows, "target"])
    return check_sanity(
        model,
        batch.contiguous(),
        method=settings.method,
        layer=settings.target_layer,
        own=(maps[rows], torch.from_numpy(targets)),
        seed=settings.seed,
        progress=lambda done, total: report("sanity", done, total),
    )
