"""Which layer to look at: a stated rule, and its reason in words.

The map's resolution decides what a heatmap can say: with 4 x 4 cells biased and clean models look alike,
with 7 x 7 or more they do not. So the rule takes the deepest stage whose map has at least 7 cells a side
and on which the median valid region covers at least one cell, and goes back one resolution at a time
(three at most) where the last stage is too coarse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from camgate.errors import ModelError
from camgate.heatmaps.explainers import Explainer, find_layer, find_maths
from camgate.models.classifier import Classifier, evaluation_mode

LEAST_CELLS = 7
FURTHEST_BACK = 3


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


@dataclass(frozen=True)
class _Stage:
    name: str
    grid: tuple[int, int]


def choose_layer(
    classifier: Classifier, regions: Sequence[np.ndarray], *, requested: str | None = None
) -> LayerChoice:
    """Choose the target layer by the rule above, or take the one that is named.

    Args:
        classifier: the model.
        regions: bool `(H, W)` each, some of the valid regions to be audited; may be empty.
        requested: layer named by the caller; None takes the model's own `target_layer`, else the rule.

    Raises:
        ModelError: no such layer (offers near ones), or the model has no layer with a map.
    """
    stages, tokens = _stages(classifier)
    area = float(np.median([region.mean() for region in regions])) if len(regions) else None
    named = requested or classifier.target_layer
    if named is not None:
        find_layer(classifier.module, named)
        stage = next((stage for stage in stages if stage.name == named), None) or _Stage(
            named, _grid_of(classifier, named)
        )
        rule: Literal["caller", "model"] = "caller" if requested else "model"
        reason = f"named by the {rule}; {_covers(stage, area)}"
        return LayerChoice(named, reason, stage.grid, _pools(classifier, stage.name), rule)
    if tokens:
        raise ModelError(
            f"the model is a transformer (its layer {tokens!r} gives tokens, not a map); heatmaps of "
            "transformers need a reshape that is not available yet. Use a convolutional network."
        )
    if not stages:
        raise ModelError(
            "the model has no layer with a spatial map (B, C, h, w), so there is nothing to make a heatmap "
            "from: a network that flattens its input at once cannot be audited this way."
        )
    deepest_first = _one_per_resolution(stages)[:FURTHEST_BACK]
    fine = [stage for stage in deepest_first if _resolves(stage, area)]
    chosen = fine[0] if fine else deepest_first[-1]
    back = deepest_first.index(chosen)
    if back == 0:
        why = "the last stage"
    else:
        last = deepest_first[0]
        why = f"{back} resolution(s) before the last stage, whose {_cells(last)} are too coarse"
    if not fine:
        why += ", and the finest within reach though still coarse"
    return LayerChoice(
        chosen.name, f"{why}; {_covers(chosen, area)}", chosen.grid, _pools(classifier, chosen.name), "auto"
    )


def resolve_method(method: str, choice: LayerChoice) -> str:
    """`auto` becomes gradcam in front of global pooling, hirescam elsewhere; other names are checked.

    Raises:
        InputError: no such method.
    """
    if method == "auto":
        return "gradcam" if choice.global_pooling else "hirescam"
    find_maths(method)
    return method


def _resolves(stage: _Stage, area: float | None) -> bool:
    cells = stage.grid[0] * stage.grid[1]
    return min(stage.grid) >= LEAST_CELLS and (area is None or area * cells >= 1.0)


def _cells(stage: _Stage) -> str:
    return f"{stage.grid[0]} x {stage.grid[1]} cells"


def _covers(stage: _Stage, area: float | None) -> str:
    if area is None:
        return f"{_cells(stage)}; no valid region to compare with"
    covered = area * stage.grid[0] * stage.grid[1]
    return f"{_cells(stage)}, the median valid region covers {covered:.1f} of them"


def _one_per_resolution(stages: list[_Stage]) -> list[_Stage]:
    """The last module of each resolution, deepest first."""
    last = {stage.grid: stage for stage in stages}
    return sorted(last.values(), key=stages.index, reverse=True)


def _stages(classifier: Classifier) -> tuple[list[_Stage], str | None]:
    """Modules with a spatial map, in the order in which they finish, and the last token layer behind them."""
    seen: list[tuple[str, tuple[int, ...]]] = []
    calls: dict[str, int] = {}
    handles = []

    def record(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            calls[name] = calls.get(name, 0) + 1
            if isinstance(output, Tensor):
                seen.append((name, tuple(output.shape)))

        return hook

    height, width = classifier.preprocessing.size
    probe = torch.zeros((1, 3, height, width), dtype=torch.uint8)
    try:
        for name, module in classifier.module.named_modules():
            if name:
                handles.append(module.register_forward_hook(record(name)))
        with evaluation_mode(classifier.module), torch.no_grad():
            classifier.logits(probe)
    finally:
        for handle in handles:
            handle.remove()
    stages = [
        _Stage(name, (shape[2], shape[3]))
        for name, shape in seen
        if len(shape) == 4 and min(shape[2:]) >= 2 and calls[name] == 1
    ]
    behind = [name for name, _ in seen].index(stages[-1].name) if stages else 0
    tokens = [name for name, shape in seen[behind:] if len(shape) == 3 and shape[1] > 4]
    return stages, tokens[-1] if tokens else None


def _grid_of(classifier: Classifier, name: str) -> tuple[int, int]:
    """Map size of a named layer; the explainer refuses what has none."""
    height, width = classifier.preprocessing.size
    with Explainer(classifier, layer=name, method="gradcam") as explainer:
        maps = explainer(torch.zeros((1, 3, height, width), dtype=torch.uint8)).maps
    return int(maps.shape[1]), int(maps.shape[2])


def _pools(classifier: Classifier, name: str) -> bool:
    """Whether every cell has the same gradient, measured on noise instead of read off names."""
    height, width = classifier.preprocessing.size
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8, generator=generator)
    with Explainer(classifier, layer=name, method="gradcam") as explainer:
        targets = explainer(noise).targets
        gradient = explainer.gradients(targets).float()
    spread = (gradient - gradient.mean(dim=(2, 3), keepdim=True)).abs().max()
    return bool(spread <= 1e-5 * gradient.abs().max())
