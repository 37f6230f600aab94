"""Which modules of a network give a map, found by running it once and not by its names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from camgate.heatmaps.modules import find_layer, frozen_evaluation
from camgate.models.classifier import Classifier

TOKEN_LAYERS = 4
"""So many layers with weights on `(B, N, C)` behind the last map make a transformer; pooling has fewer."""

TRIES = 40
"""Modules of one resolution that are tested at most; each test is a forward pass of one image."""

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Stage:
    """A module and the size of its map, height and width in cells."""

    name: str
    grid: tuple[int, int]


@dataclass(frozen=True)
class Survey:
    """What one forward pass of one image shows.

    Attributes:
        stages: modules that give a map, in the order in which they finish.
        channels_last: modules whose output is `(B, h, w, C)`, and their shapes.
        tokens: the last layer that gives tokens, where the network ends as a transformer.
        silent: the network has sub-modules, but none runs as a module of its own.
    """

    stages: tuple[Stage, ...]
    channels_last: dict[str, Shape]
    tokens: str | None
    silent: bool


@dataclass(frozen=True)
class _Run:
    name: str
    module: nn.Module
    taken: Shape
    given: Shape


def survey(classifier: Classifier) -> Survey:
    """Run the network once and note what every module takes and gives."""
    size = classifier.preprocessing.size
    runs, calls = _dry_run(classifier)
    channels_last = {run.name: run.given for run in runs if _is_channels_last(run.given, size)}
    maps = [run for run in runs if _is_map(run) and run.name not in channels_last]
    first: dict[Shape, _Run] = {}
    for run in maps:
        first.setdefault(run.given[2:], run)
    # A map that was enlarged (VGG's pooling at small inputs) has more cells, but says no more.
    enlarged = {grid for grid, run in first.items() if _cells(run.taken) < _cells(run.given)}
    stages = [
        Stage(run.name, (run.given[2], run.given[3]))
        for run in maps
        if calls[run.name] == 1 and run.given[2:] not in enlarged and not _passes_on(run)
    ]
    behind = [run.name for run in runs].index(stages[-1].name) if stages else 0
    tokens = [run for run in runs[behind:] if len(run.given) == 3 and run.given[1] > 1]
    weighing = [run for run in tokens if next(run.module.parameters(recurse=False), None) is not None]
    return Survey(
        stages=tuple(stages),
        channels_last=channels_last,
        tokens=tokens[-1].name if len(weighing) >= TOKEN_LAYERS else None,
        silent=not runs and next(classifier.module.children(), None) is not None,
    )


def main_stages(classifier: Classifier, stages: tuple[Stage, ...]) -> Iterator[Stage]:
    """One module for each resolution, deepest first: the last one through which all information goes.

    Resolutions that exist only in side branches are left out, unless the network has nothing else.
    """
    by_grid: dict[tuple[int, int], list[Stage]] = {}
    for stage in reversed(stages):
        by_grid.setdefault(stage.grid, []).append(stage)
    found = False
    for group in by_grid.values():
        whole = next((stage for stage in group[:TRIES] if carries_all(classifier, stage.name)), None)
        if whole is not None:
            found = True
            yield whole
    if not found:
        yield from (min(group, key=lambda stage: stage.name.count(".")) for group in by_grid.values())


def carries_all(classifier: Classifier, name: str) -> bool:
    """Whether the logits see the image through this layer only.

    The graph is cut behind the layer: if the logits still depend on the image, something goes around it,
    as around the first half of a residual block. Where the network itself cuts the graph (`no_grad` in its
    forward) this cannot be known, and is taken as true.
    """
    layer = find_layer(classifier.module, name)
    with ExitStack() as stack:
        stack.enter_context(frozen_evaluation(classifier.module))
        stack.callback(classifier.module.register_forward_pre_hook(_track).remove)
        stack.callback(layer.register_forward_hook(_cut).remove)
        with torch.inference_mode(False), torch.enable_grad():
            return not classifier.logits(probe(classifier)).requires_grad


def probe(classifier: Classifier, count: int = 1) -> Tensor:
    """Noise at the classifier's input size, uint8 `(count, C, h, w)`, always the same."""
    generator = torch.Generator().manual_seed(0)
    shape = (count, classifier.preprocessing.channels, *classifier.preprocessing.size)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def _dry_run(classifier: Classifier) -> tuple[list[_Run], Counter[str]]:
    runs: list[_Run] = []
    calls: Counter[str] = Counter()

    def recorder(name: str) -> Any:
        def record(module: nn.Module, inputs: Any, output: Any) -> None:
            calls[name] += 1
            if isinstance(output, Tensor):
                taken = inputs[0] if inputs and isinstance(inputs[0], Tensor) else output
                runs.append(_Run(name, module, tuple(taken.shape), tuple(output.shape)))

        return record

    with ExitStack() as stack:
        stack.enter_context(frozen_evaluation(classifier.module))
        for name, module in classifier.module.named_modules():
            if name:
                stack.callback(module.register_forward_hook(recorder(name)).remove)
        with torch.no_grad():
            classifier.logits(probe(classifier))
    return runs, calls


def _track(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    # Cloned, because an in-place first layer must not meet a leaf of the graph.
    return tuple(
        value.detach().requires_grad_().clone()
        if isinstance(value, Tensor) and value.is_floating_point()
        else value
        for value in inputs
    )


def _cut(module: nn.Module, inputs: Any, output: Any) -> Any:
    return output.detach().clone() if isinstance(output, Tensor) else output


def _is_map(run: _Run) -> bool:
    return len(run.given) == 4 and run.given[0] == 1 and min(run.given[2:]) >= 2


def _is_channels_last(shape: Shape, size: tuple[int, int]) -> bool:
    if len(shape) != 4:
        return False
    return not _like_the_input(shape[2:], size) and _like_the_input(shape[1:3], size)


def _like_the_input(grid: Shape, size: tuple[int, int]) -> bool:
    """Whether a grid has about the input's proportions, borders lost on the way allowed for."""
    height, width = size
    if grid[0] > height or grid[1] > width:
        return False
    return min(abs(grid[1] - grid[0] * width / height), abs(grid[0] - grid[1] * height / width)) <= 2


def _cells(shape: Shape) -> float:
    return shape[2] * shape[3] if len(shape) == 4 else float("inf")


def _passes_on(run: _Run) -> bool:
    """Dropout and the like, which give what they take: the layer before them has the better name."""
    idle = isinstance(run.module, nn.AdaptiveAvgPool2d) and run.taken == run.given
    return idle or isinstance(run.module, (_DropoutNd, nn.Identity))
