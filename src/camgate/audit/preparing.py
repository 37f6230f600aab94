"""What is decided before the first heatmap: options, audited rows, layer and method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from camgate.audit.profile import stage
from camgate.audit.result import AuditSettings
from camgate.data.cells import as_text
from camgate.data.dataset import ImageDataset
from camgate.data.manifest import audited_rows, validate_manifest
from camgate.data.regions import RegionRule, rule_from_json
from camgate.errors import InputError
from camgate.heatmaps.handed_in import MapFunction, choice_for, name_of
from camgate.heatmaps.layers import choose_layer, resolve_method
from camgate.models.classifier import Classifier

Progress = Callable[[str, int, int], None]
"""Called with (stage, done, total)."""

TARGETS = ("predicted", "label")
FILLS = ("inpaint", "median")
REGION_SAMPLE = 64


@dataclass(frozen=True)
class AuditOptions:
    """How an audit is made; each is explained at `camgate.audit.runner.audit`.

    Raises:
        InputError: a value that cannot be used; names it.
    """

    method: str | MapFunction = "auto"
    target_layer: str | None = None
    target: str = "predicted"
    interventions: bool = True
    slices: tuple[str, ...] = ()
    seed: int | None = None
    tolerance: int = 1
    draws: int = 3
    fill: str = "inpaint"
    margin: float = 0.05
    match_on: tuple[str, ...] = ()
    max_interventions: int = 1000
    sanity: bool = True
    batch_size: int = 32
    workers: int | None = None
    gallery_worst: int = 24
    gallery_sample: int = 24

    def __post_init__(self) -> None:
        for name in ("slices", "match_on"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name, value, allowed in (("target", self.target, TARGETS), ("fill", self.fill, FILLS)):
            if value not in allowed:
                raise InputError(f"`{name}` must be one of {', '.join(allowed)}, not {value!r}.")
        for name, least in (("tolerance", 0), ("draws", 1), ("max_interventions", 1), ("batch_size", 1)):
            if getattr(self, name) < least:
                raise InputError(f"`{name}` must be at least {least}, not {getattr(self, name)}.")
        if not 0 <= self.margin <= 0.5:
            raise InputError(f"`margin` is a share of the image side from 0 to 0.5, not {self.margin}.")


@dataclass(frozen=True)
class Prepared:
    """An audit before its first heatmap.

    Attributes:
        model: the classifier.
        options: as asked for.
        rows: the audited rows, validated.
        dataset: of the rows.
        settings: as decided; the seed is 0 until the data's digest is known.
        explained: method by name, or the caller's function.
        warnings: sentences a reader of the report must see.
    """

    model: Classifier
    options: AuditOptions
    rows: pd.DataFrame
    dataset: ImageDataset
    settings: AuditSettings
    explained: str | MapFunction
    warnings: tuple[str, ...]


def prepare(model: Classifier, manifest: pd.DataFrame, options: AuditOptions) -> Prepared:
    """Check everything that can be checked without looking at all images, and choose layer and method.

    Raises:
        InputError: an option or the manifest cannot be used.
        ModelError: the model cannot be audited (no spatial layer, wrong layer name).
    """
    with stage("manifest"):
        manifest = validate_manifest(manifest, classes=model.classes)
    for column in (*options.slices, *options.match_on):
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
    dataset = ImageDataset(rows, model.preprocessing, model.classes)
    method = options.method
    explained: str | MapFunction
    with stage("choice of layer"):
        if isinstance(method, str):
            regions, sampled = _sample(dataset)
            choice = choose_layer(model, regions, requested=options.target_layer, images=sampled)
            explained = resolve_method(method, choice)
        elif options.target_layer is not None:
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
        target=options.target,
        tolerance=options.tolerance,
        interventions=options.interventions,
        draws=options.draws,
        fill=options.fill,
        margin=options.margin,
        match_on=options.match_on,
        slices=options.slices,
        seed=0,
        max_interventions=options.max_interventions,
        sanity=options.sanity and isinstance(explained, str),
    )
    return Prepared(model, options, rows, dataset, settings, explained, tuple(warnings))


def _changed_regions(rows: pd.DataFrame) -> tuple[str, ...]:
    """What was done to the given masks: a grown region makes every share smaller, so the reader must know."""
    texts = [as_text(cell) for cell in rows["region_rule"]] if "region_rule" in rows else []
    rules = {text: rule_from_json(text) for text in set(texts)}
    return tuple(
        f"In {texts.count(text)} of {len(rows)} images {rule.in_words()}."
        for text, rule in sorted(rules.items())
        if rule != RegionRule()
    )


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
