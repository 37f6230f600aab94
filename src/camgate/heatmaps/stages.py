"""Which modules of a network give a map, found by running it once and not by its names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from camgate.heatmaps.flow import Run, Trace, reads, trace
from camgate.heatmaps.layouts import Grid, Layout, Shape, layout_of_map, layout_of_tokens
from camgate.models.classifier import Classifier

TOKEN_LAYERS = 4
"""So many layers with weights on `(B, N, C)` make N a number of tokens; a flattened map has fewer."""


@dataclass(frozen=True)
class Stage:
    """A module that gives a map.

    Attributes:
        name: dotted module name.
        layout: how its output holds the map.
        whole: the logits see the image through this layer only.
    """

    name: str
    layout: Layout
    whole: bool

    @property
    def grid(self) -> Grid:
        """Height and width of its map, in cells."""
        return self.layout.grid


@dataclass(frozen=True)
class Survey:
    """What one forward pass shows.

    Attributes:
        stages: modules that give a map, in the order in which they finish.
        layouts: how each module's output holds a map, those that run more than once included.
        whole: modules through which all information goes.
        silent: the network has sub-modules, but none runs as a module of its own.
    """

    stages: tuple[Stage, ...]
    layouts: dict[str, Layout]
    whole: frozenset[str]
    silent: bool


def survey(classifier: Classifier) -> Survey:
    """Run the network once, on noise, and note which modules give a map and how."""
    found = trace(classifier)
    size = classifier.preprocessing.size
    maps = _maps(found, size)
    # A map that was enlarged (VGG's pooling at small inputs) has more cells, but says no more.
    first: dict[Grid, Run] = {}
    for run, layout in maps:
        first.setdefault(layout.grid, run)
    enlarged = {grid for grid, run in first.items() if _cells(run.taken, size) < grid[0] * grid[1]}
    stages = [
        Stage(run.name, layout, run.name in found.whole)
        for run, layout in maps
        if found.calls[run.name] == 1 and layout.grid not in enlarged and not _passes_on(run)
    ]
    return Survey(
        stages=tuple(stages),
        layouts={run.name: layout for run, layout in maps},
        whole=frozenset(found.whole),
        silent=not found.runs and next(classifier.module.children(), None) is not None,
    )


def main_stages(classifier: Classifier, stages: tuple[Stage, ...]) -> Iterator[Stage]:
    """One module for each resolution, deepest first: the last one through which all information goes.

    Where a class token goes beside the patch tokens, it is the last one whose patch tokens are still read.
    Resolutions that exist only in side branches are left out, unless the network has nothing else.
    """
    found: set[Grid] = set()
    # Side branches do not count for the order either: attention matrices have grids of their own.
    for stage in reversed(stages):
        if stage.whole and stage.grid not in found and cells_are_read(classifier, stage):
            found.add(stage.grid)
            yield stage
    if not found:
        by_grid: dict[Grid, list[Stage]] = {}
        for stage in reversed(stages):
            by_grid.setdefault(stage.grid, []).append(stage)
        yield from (min(group, key=lambda stage: stage.name.count(".")) for group in by_grid.values())


def cells_are_read(classifier: Classifier, stage: Stage) -> bool:
    """Whether the logits depend on the map's cells, and not on the tokens beside them alone."""
    return stage.layout.prefix == 0 or reads(classifier, stage.name, stage.layout, cells=True)


def carries_all(classifier: Classifier, name: str) -> bool:
    """Whether the logits see the image through this layer only; see `trace`."""
    return name in trace(classifier).whole


def _maps(found: Trace, size: Grid) -> list[tuple[Run, Layout]]:
    runs = [run for run in found.runs if run.given[0] == 2]  # others hold windows in place of images
    on_axes = {run.given: layout_of_map(run.given, size) for run in runs}
    seen = {layout.grid for layout in on_axes.values() if layout is not None}
    rows = _token_rows(runs, seen, size)
    maps = []
    for run in runs:
        layout = rows.get(run.given[1]) if len(run.given) == 3 else on_axes[run.given]
        if layout is not None:
            maps.append((run, layout))
    return maps


def _token_rows(runs: list[Run], seen: set[Grid], size: Grid) -> dict[int, Layout | None]:
    """Layout of each length of a row of tokens, read off its first run."""
    rows = [run for run in runs if len(run.given) == 3]
    weighing = Counter(
        run.given[1] for run in rows if next(run.module.parameters(recurse=False), None) is not None
    )
    first: dict[int, Run] = {}
    for run in rows:
        if weighing[run.given[1]] >= TOKEN_LAYERS:
            first.setdefault(run.given[1], run)
    return {length: layout_of_tokens(length, run.constant, seen, size) for length, run in first.items()}


def _cells(shape: Shape, size: Grid) -> float:
    if len(shape) != 4:
        return float("inf")
    layout = layout_of_map(shape, size)
    return shape[2] * shape[3] if layout is None else layout.grid[0] * layout.grid[1]


def _passes_on(run: Run) -> bool:
    """Dropout and the like, which give what they take: the layer before them has the better name."""
    idle = isinstance(run.module, nn.AdaptiveAvgPool2d) and run.taken == run.given
    return idle or isinstance(run.module, (_DropoutNd, nn.Identity))
