"""How a layer's output holds a map: channels first, channels last, or a row of tokens."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

Shape = tuple[int, ...]
Grid = tuple[int, int]

MOST_PREFIX_TOKENS = 16
"""Class, distillation and register tokens that a row may begin with where they cannot be measured."""


@dataclass(frozen=True)
class Layout:
    """Where the cells of the map are in a layer's output.

    Attributes:
        axes: `channels_first` is `(B, C, h, w)`, `channels_last` `(B, h, w, C)`, `tokens`
            `(B, prefix + h*w, C)`, row by row.
        grid: height and width of the map, in cells.
        prefix: tokens in front of the patch tokens that belong to no cell (class, distillation, registers).
    """

    axes: Literal["channels_first", "channels_last", "tokens"]
    grid: Grid
    prefix: int = 0

    def to_map(self, output: Tensor) -> Tensor:
        """The cells as `(B, C, h, w)`: a view, prefix tokens left out."""
        if self.axes == "channels_first":
            return output
        if self.axes == "channels_last":
            return output.permute(0, 3, 1, 2)
        cells = output[:, self.prefix :].transpose(1, 2)
        return cells.view(*cells.shape[:2], *self.grid)

    def replace(self, output: Tensor, cells: Tensor) -> Tensor:
        """A copy of the output with other cells, `(B, C, h, w)`; prefix tokens stay."""
        changed = output.clone()
        self.to_map(changed).copy_(cells)
        return changed


def tensor_of(output: Any) -> Tensor | None:
    """The tensor that a layer passes on: its output, or the first of several."""
    if isinstance(output, (tuple, list)) and output:
        output = output[0]
    return output if isinstance(output, Tensor) else None


def with_tensor(output: Any, tensor: Tensor) -> Any:
    """The layer's output with another tensor in the place of `tensor_of(output)`."""
    return type(output)([tensor, *output[1:]]) if type(output) in (tuple, list) else tensor


def layout_of_map(shape: Shape, size: Grid) -> Layout | None:
    """Layout of an output with four axes; None where it holds no map.

    Where both readings have the proportions of the input, channels are taken to come first.
    """
    if len(shape) != 4:
        return None
    if like_the_input(shape[1:3], size) and not like_the_input(shape[2:], size):
        return Layout("channels_last", (shape[1], shape[2])) if min(shape[1:3]) >= 2 else None
    return Layout("channels_first", (shape[2], shape[3])) if min(shape[2:]) >= 2 else None


def layout_of_tokens(tokens: int, constant: int, seen: Iterable[Grid], size: Grid) -> Layout | None:
    """Layout of a row of tokens; None where they form no grid.

    Args:
        tokens: length of the row.
        constant: tokens at its front that were the same for two different images: where a row begins, class
            tokens have seen nothing yet.
        seen: grids of the maps that ran, such as the patch embedding's. Their halvings count too, since
            Swin merges patches with no convolution.
        size: height and width of the input.
    """
    if constant == tokens:
        return None
    seen = [grid for grid in seen if like_the_input(grid, size)]
    embedded = {grid[0] * grid[1]: grid for grid in seen}
    cells = tokens - constant
    measured = {grid[0] * grid[1]: grid for grid in halvings(seen)} | embedded
    grid = measured.get(cells) or _grid_of(cells, size)
    if grid is not None:
        return Layout("tokens", grid, constant)
    # A class token that is made from the image cannot be told from the patches by two images.
    for prefix in range(1, MOST_PREFIX_TOKENS + 1):
        if tokens - prefix in embedded:
            return Layout("tokens", embedded[tokens - prefix], prefix)
    return None


def like_the_input(grid: Shape, size: Grid) -> bool:
    """Whether a grid has about the input's proportions, borders lost on the way allowed for."""
    height, width = size
    if grid[0] > height or grid[1] > width:
        return False
    return min(abs(grid[1] - grid[0] * width / height), abs(grid[0] - grid[1] * height / width)) <= 2


def halvings(grids: Iterable[Grid]) -> set[Grid]:
    """The grids, and each halved again and again down to two cells."""
    found = set(grids)
    for height, width in tuple(found):
        while min(height, width) > 2:
            height, width = math.ceil(height / 2), math.ceil(width / 2)
            found.add((height, width))
    return found


def _grid_of(cells: int, size: Grid) -> Grid | None:
    """The grid with so many cells and exactly the input's proportions."""
    height = round(math.sqrt(cells * size[0] / size[1]))
    if height < 2 or cells % height:
        return None
    grid = (height, cells // height)
    return grid if grid[0] * size[1] == grid[1] * size[0] else None
