"""Which layer to look at: a stated rule, and its reason in words.

The map's resolution decides what a heatmap can say: with 4 x 4 cells biased and clean models look alike,
with 7 x 7 or more they do not, and a region below one cell cannot be scored at all. So the rule takes the
deepest stage whose map has at least 7 cells a side and on which nine in ten valid regions cover at least
one cell, and goes back one resolution at a time where the last stage is too coarse - until its map is four
times as fine, since features that early say little about the class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from camgate.errors import InputError, ModelError
from camgate.heatmaps.explainers import Explainer
from camgate.heatmaps.methods import METHODS, find_maths
from camgate.heatmaps.modules import find_layer
from camgate.heatmaps.stages import Stage, Survey, carries_all, main_stages, probe, survey
from camgate.models.classifier import Classifier

LEAST_CELLS = 7
FURTHEST_BACK = 4
"""Times as many cells a side as the last stage has, at most."""
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
    classifier: Classifier, regions: Sequence[np.ndarray], *, requested: str | None = None
) -> LayerChoice:
    """Choose the target layer by the rule above, or take the one that is named.

    Args:
        classifier: the model; left as it was.
        regions: bool `(H, W)` each, some of the valid regions to be audited; may be empty.
        requested: layer named by the caller; None takes the model's own `target_layer`, else the rule.

    Raises:
        ModelError: no such layer (offers near ones), or the model has no layer with a map.
    """
    areas = np.array([np.mean(region) for region in regions], dtype=np.float64)
    if requested is not None:
        return _named(classifier, requested, areas, "caller")
    if classifier.target_layer is not None:
        return _named(classifier, classifier.target_layer, areas, "model")
    return _by_rule(classifier, areas)


def resolve_method(method: str, choice: LayerChoice) -> str:
    """`auto` becomes gradcam in front of global pooling, hirescam elsewhere; other names are checked.

    Raises:
        InputError: no such method.
    """
    if method == "auto":
        return "gradcam" if choice.global_pooling else "hirescam"
    try:
        find_maths(method)
    except InputError as error:
        raise InputError(f"{error} Or leave it to `auto`.") from error
    return method


def _named(
    classifier: Classifier, name: str, areas: np.ndarray, rule: Literal["model", "caller"]
) -> LayerChoice:
    find_layer(classifier.module, name)
    seen = survey(classifier)
    if name in seen.channels_last:
        raise ModelError(
            f"layer {name!r} gives {seen.channels_last[name]}, channels last, where a heatmap needs "
            f"(B, C, h, w). {_alternatives(seen)}"
        )
    pooling, grid = _measure(classifier, name)
    around = "" if carries_all(classifier, name) else "; part of the information goes around it"
    reason = f"named by the {rule}; {_covered(grid, areas)}{around}"
    return LayerChoice(name, reason, grid, pooling, rule)


def _by_rule(classifier: Classifier, areas: np.ndarray) -> LayerChoice:
    seen = survey(classifier)
    if seen.tokens is not None:
        raise ModelError(
            f"the model is a transformer (its layer {seen.tokens!r} gives tokens, not a map); heatmaps of "
            "transformers need a reshape that is not available yet. Use a convolutional network."
        )
    if seen.silent:
        raise ModelError(
            "none of the model's sub-modules runs as a module of its own, as in a scripted, traced or "
            "exported network, so no layer can be looked at. Hand over the network it was made from."
        )
    if not seen.stages:
        raise ModelError(
            "the model has no layer with a spatial map (B, C, h, w), so there is nothing to make a heatmap "
            "from: a network that flattens its input at once cannot be audited this way."
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
    pooling, grid = _measure(classifier, chosen.name)
    why = _position(stages, chosen)
    if not resolved:
        why += ", and still too coarse, but no finer one is within reach"
    return LayerChoice(chosen.name, f"{why}; {_covered(grid, areas)}", grid, pooling, "auto")


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


def _covered(grid: tuple[int, int], areas: np.ndarray) -> str:
    cells = f"{grid[0]} x {grid[1]} cells"
    if not len(areas):
        return f"{cells}; no valid region to compare with"
    covered = float(np.median(areas)) * grid[0] * grid[1]
    return f"{cells}, the median valid region covers {covered:.1f} of them"


def _alternatives(seen: Survey) -> str:
    if not seen.stages:
        return "The model has no such layer."
    last = {stage.grid: stage.name for stage in seen.stages}
    return f"Layers that do: {', '.join(reversed(list(last.values())))}."


def _measure(classifier: Classifier, name: str) -> tuple[bool, tuple[int, int]]:
    """Whether every cell has the same gradient, on noise instead of read off names; and the map's size."""
    method = next(iter(METHODS))  # only its map's size is used
    with Explainer(classifier, layer=name, method=method) as explainer:
        heat = explainer(probe(classifier, 2))
        gradient = explainer.gradients(heat.targets).float()
    largest = gradient.abs().max()
    spread = (gradient - gradient.mean(dim=(2, 3), keepdim=True)).abs().max()
    return bool(largest > 0 and spread <= 1e-5 * largest), (heat.maps.shape[1], heat.maps.shape[2])
