"""Does a cell of the map speak of its own pixels? Measured by changing some pixels and watching the map.

A heatmap says where evidence is only as far as a cell of the layer holds what its own part of the image says.
Attention and large receptive fields mix: behind the last block of a small vision transformer every token may
carry the whole answer, and the map is spread evenly whatever the network looks at. Such a map passes every
test of randomised weights; it is a true picture of a layer that has no places any more.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from camgate.heatmaps.explainers import Explainer
from camgate.models.classifier import Classifier

IMAGES = 12
PATCHES = 10
ALIVE = 0.8
"""Share of the maps that must not be dead."""


def locality(classifier: Classifier, layer: str, images: Tensor) -> float:
    """Share of the change in relevance that stays where the pixels were changed, corrected for area.

    The pixels under one cell are exchanged for those of another image. Relevance of a cell is the sum over
    channels of gradient times activation for the class predicted on the untouched image.

    Args:
        classifier: left as it was.
        layer: dotted name; its output must be a map.
        images: uint8 `(n, C, H, W)`, n >= 2, at the preprocessing's size; `IMAGES` of them are used.

    Returns:
        1 when all of the change stays within one cell of the changed one, 0 when it is spread evenly over
        the map, less than 0 when it is elsewhere; NaN when nothing changes at
        all, most maps are dead, or a map has one cell.
    """
    images = images[np.linspace(0, len(images) - 1, min(IMAGES, len(images))).astype(int)]
    others = images.roll(1, dims=0)
    height, width = images.shape[2:]
    inside = total = even = 0.0
    with Explainer(classifier, layer=layer, method="hirescam") as explainer:
        heat = explainer(images)
        targets = heat.targets
        if float((heat.maps.amax(dim=(1, 2)) > 0).float().mean()) < ALIVE:
            return float("nan")
        before = explainer.relevance(targets)
        rows, columns = before.shape[1:]
        if rows * columns < 2:
            return float("nan")
        for row, column in _spread(rows, columns):
            changed = images.clone()
            down = slice(row * height // rows, (row + 1) * height // rows)
            across = slice(column * width // columns, (column + 1) * width // columns)
            changed[:, :, down, across] = others[:, :, down, across]
            explainer(changed, targets)
            change = (explainer.relevance(targets) - before).abs().double()
            near = change[:, max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
            share = near[0].numel() / (rows * columns)
            amount = float(change.sum())
            inside, total, even = inside + float(near.sum()), total + amount, even + share * amount
    if not np.isfinite(total) or total <= even:
        return float("nan")
    return (inside - even) / (total - even)


def _spread(rows: int, columns: int) -> list[tuple[int, int]]:
    """Cells spread over the map: a Kronecker sequence, so that any number of them is even."""
    steps = np.arange(1, PATCHES + 1)[:, None] * np.array([0.7548776662466927, 0.5698402909980532])
    cells = ((steps + 0.5) % 1.0 * (rows, columns)).astype(int)
    return [(int(row), int(column)) for row, column in dict.fromkeys(map(tuple, cells.tolist()))]
