"""Which layer to look at: a stated rule, and its reason in words.

**A layer through which all information goes.** A map of a layer that something goes around (the first half of
a residual block, the norm before an attention) shows a part of the evidence and may show the background on a
correct model. So only layers count whose output every path from the image to the logits passes.

**Whose cells are read.** Where a head reads a class token, nothing behind the last attention looks at the
patch tokens: every gradient there is zero. The rule takes the last layer whose patch tokens still count,
which is what the last attention reads. The class token goes through that layer too but belongs to no cell, so
what it gathered before is not on the map; the reason says so.

**As deep as the regions allow.** The map's resolution decides what a heatmap can say: with 4 x 4 cells biased
and clean models look alike, with 7 x 7 or more they do not, and a region below one cell cannot be scored at
all. So the rule takes the deepest such layer whose map has at least 7 cells a side and on which nine in ten
valid regions cover at least one cell, and goes back one resolution at a time where the last stage is too
coarse - until its map is four times as fine, since features that early say little about the class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import Tensor

from camgate.errors import InputError, ModelError
from camgate.heatmaps.explainers import Explainer
from camgate.heatmaps.flow import probe, reads
from camgate.heatmaps.locality import locality
from camgate.heatmaps.methods import METHODS, find_method
from camgate.heatmaps.modules import find_layer
from camgate.heatmaps.stages import Stage, Survey, cells_are_read, main_stages, survey
from camgate.models.classifier import Classifier

LEAST_CELLS = 7
FURTHEST_BACK = 4
"""Times as many cells a side as the last stage has, at most."""
LEAST_LOCAL = 0.25
"""Share of the change in relevance that must stay where the pixels were changed, corrected for area.

0.4 to 0.8 at the last stage of small CNNs and at the stem of a small ViT, 0.0 to 0.2 behind its blocks."""
CLEARLY_MORE, NEARLY_BEST = 0.1, 0.6
"""Another layer must be more local by this; of those nearly as local as the best, the deepest is taken."""
MOST_LOOKED_AT = 24
SMALL_REGIONS = 10
"""Percentile of the regions' areas that must still cover a cell; the audit's coverage rule needs most."""


@dataclass(frozen=True)
class LayerChoice:
    """The layer, and why.

    Attributes:
        name: dotted module name.
        reason: one readable phrase.
        grid: height and width of its map, in cells.
        global_pooling: the gradient of a logit is the same in every cell, as it is in front of global
            average pooling and a linear layer; gradcam and hirescam then give the same map.
        rule: who chose: the rule (`auto`), the model's own spec (`model`) or the `caller`.
    """

    name: str
    reason: str
    grid: tuple[int, int]
    global_pooling: bool
    rule: Literal["auto", "model", "caller"]


def choose_layer(
    classifier: Classifier,
    regions: Sequence[np.ndarray],
    *,
    requested: str | None = None,
    images: Tensor | None = None,
) -> LayerChoice:
    """Choose the target layer by the rule above, or take the one that is named.

    Args:
        classifier: the model; left as it was.
        regions: bool `(H, W)` each, some of the valid regions to be audited; may be empty.
        requested: layer named by the caller; None takes the model's own `target_layer`, else the rule.
        images: uint8 `(n, C, H, W)`, some of those to be audited; without them the rule does not ask
            whether cells have kept their place.

    Raises:
        ModelError: no such layer (offers near ones), the model has no layer with a map, or the logits do not
            depend on the cells of the one that is named.
    """
    areas = np.array([np.mean(region) for region in regions], dtype=np.float64)
    if requested is not None:
        return _named(classifier, requested, areas, "caller")
    if classifier.target_layer is not None:
        return _named(classifier, classifier.target_layer, areas, "model")
    return _by_rule(classifier, areas, images)


def resolve_method(method: str, choice: LayerChoice) -> str:
    """`auto` becomes gradcam in front of global pooling, hirescam elsewhere; other names are checked.

    Raises:
        InputError: no such method.
    """
    if method == "auto":
        return "gradcam" if choice.global_pooling else "hirescam"
    try:
        find_method(method)
    except InputError as error:
        raise InputError(f"{error} Or leave it to `auto`.") from error
    return method


def _named(
    classifier: Classifier, name: str, areas: np.ndarray, rule: Literal["model", "caller"]
) -> LayerChoice:
    find_layer(classifier.module, name)
    seen = survey(classifier)
    layout = seen.layouts.get(name)
    if layout is not None and not cells_are_read(classifier, Stage(name, layout, name in seen.whole)):
        raise ModelError(
            f"the logits do not depend on the patch tokens of layer {name!r}: the head reads the class "
            f"token, so every map would be dead. {_alternatives(classifier, seen)}"
        )
    pooling, grid = _measure(classifier, name)
    around = "" if name in seen.whole else "; part of the information goes around it"
    reason = f"named by the {rule}; {_covered(grid, areas)}{around}"
    return LayerChoice(name, reason, grid, pooling, rule)


def _by_rule(classifier: Classifier, areas: np.ndarray, images: Tensor | None) -> LayerChoice:
    seen = survey(classifier)
    if seen.silent:
        raise ModelError(
            "none of the model's sub-modules runs as a module of its own, as in a scripted, traced or "
            "exported network, so no layer can be looked at. Hand over the network it was made from."
        )
    if not seen.stages:
        raise ModelError(
            "the model has no layer with a spatial map, (B, C, h, w), (B, h, w, C) or (B, tokens, C), so "
            "there is nothing to make a heatmap from: a network that flattens its input at once cannot be "
            "audited this way."
        )
    stages: list[Stage] = []
    for stage in main_stages(classifier, seen.stages):
        # One cell more, for maps whose last halving was rounded down.
        if stages and min(stage.grid) > FURTHEST_BACK * (min(stages[0].grid) + 1):
            break
        stages.append(stage)
        if _resolves(stage.grid, areas):
            break
    resolved = _resolves(stages[-1].grid, areas)
    chosen = stages[-1] if resolved else max(stages, key=lambda stage: stage.grid[0] * stage.grid[1])
    why = _position(stages, chosen) + _beside(classifier, chosen)
    if not resolved:
        why += ", and still too coarse, but no finer one is within reach"
    if images is not None and len(images) > 1:
        chosen, why = _with_a_place(classifier, seen, chosen, why, images)
    pooling, grid = _measure(classifier, chosen.name)
    return LayerChoice(chosen.name, f"{why}; {_covered(grid, areas)}", grid, pooling, "auto")


def _with_a_place(
    classifier: Classifier, seen: Survey, chosen: Stage, why: str, images: Tensor
) -> tuple[Stage, str]:
    """The chosen layer, or one before it on a map as fine whose cells speak of their own pixels."""
    local = _locality(classifier, chosen, images)
    if local >= LEAST_LOCAL:
        return chosen, why
    before = [
        stage
        for stage in seen.stages[: seen.stages.index(chosen)]
        if stage.whole and stage.grid == chosen.grid and cells_are_read(classifier, stage)
    ]
    found = {stage: _locality(classifier, stage, images) for stage in before[-MOST_LOOKED_AT:]}
    best = max(found.values(), default=0.0)
    if best < local + CLEARLY_MORE:
        return chosen, f"{why}, though its cells hardly speak of their own pixels"
    stage = next(stage for stage in reversed(found) if found[stage] >= NEARLY_BEST * best)
    return stage, (
        f"the last layer whose cells speak of their own pixels (those of {chosen.name!r}, {why}, have mixed "
        "what the whole image says)"
    )


def _locality(classifier: Classifier, stage: Stage, images: Tensor) -> float:
    """Locality, 0 where it cannot be measured."""
    found = locality(classifier, stage.name, images)
    return max(found, 0.0) if np.isfinite(found) else 0.0


def _resolves(grid: tuple[int, int], areas: np.ndarray) -> bool:
    small = np.percentile(areas, SMALL_REGIONS) if len(areas) else 1.0
    return min(grid) >= LEAST_CELLS and bool(small * grid[0] * grid[1] >= 1.0)


def _position(stages: list[Stage], chosen: Stage) -> str:
    back = stages.index(chosen)
    if back == 0:
        return "the last stage"
    last = stages[0].grid
    steps = {1: "one stage", 2: "two stages"}.get(back, f"{back} stages")
    return f"{steps} before the last, whose {last[0]} x {last[1]} cells are too coarse"


def _beside(classifier: Classifier, chosen: Stage) -> str:
    """What the map leaves out: tokens that belong to no cell, and paths around the layer."""
    if not chosen.whole:
        return ", though part of the information goes around it"
    if not chosen.layout.prefix or not reads(classifier, chosen.name, chosen.layout, cells=False):
        return ""
    return " whose patch tokens are read (what the class token gathered before it is not on the map)"


def _covered(grid: tuple[int, int], areas: np.ndarray) -> str:
    cells = f"{grid[0]} x {grid[1]} cells"
    if not len(areas):
        return f"{cells}; no valid region to compare with"
    covered = float(np.median(areas)) * grid[0] * grid[1]
    return f"{cells}, the median valid region covers {covered:.1f} of them"


def _alternatives(classifier: Classifier, seen: Survey) -> str:
    names = [stage.name for stage in main_stages(classifier, seen.stages)]
    return f"Layers whose cells are read: {', '.join(names)}." if names else "The model has no such layer."


def _measure(classifier: Classifier, name: str) -> tuple[bool, tuple[int, int]]:
    """Whether every cell has the same gradient, on noise instead of read off names; and the map's size."""
    method = next(iter(METHODS))  # only its map's size is used
    with Explainer(classifier, layer=name, method=method) as explainer:
        heat = explainer(probe(classifier, 2))
        gradient = explainer.gradients(heat.targets).float()
    largest = gradient.abs().max()
    spread = (gradient - gradient.mean(dim=(2, 3), keepdim=True)).abs().max()
    return bool(largest > 0 and spread <= 1e-5 * largest), (heat.maps.shape[1], heat.maps.shape[2])
