"""Where a set of heatmaps looks, and whether that place moves: pure functions on arrays.

Objects move between images, overlays do not. How far is far is asked of the maps themselves: maps that
resemble each other no better than each resembles itself moved by one cell have moved by a cell or more.
So the measure needs no annotation, and a blurred map does not pass for a steady one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from camgate.audit.resampling import REPLICATES, group_counts

LEVEL = 0.95
"""Of the one-sided lower bound of a stability."""
_STEPS = ((0, 1), (0, -1), (1, 0), (-1, 0))
_FLAT = 1e-3
"""A map that differs less than this from itself moved by a cell has no place at all."""


@dataclass(frozen=True)
class Box:
    """Cells of a map, `top <= y < bottom` and `left <= x < right`."""

    top: int
    left: int
    bottom: int
    right: int


def unit(maps: np.ndarray) -> np.ndarray:
    """Each map as a vector of length 1, float64 `(n, h * w)`; a product of two is their cosine.

    Args:
        maps: float `(n, h, w)`, >= 0, none dead.
    """
    rows = maps.reshape(len(maps), maps.shape[1] * maps.shape[2]).astype(np.float64)
    rows = rows / rows.max(axis=1, keepdims=True)  # squares of denormal values would vanish
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def resemblance_moved(maps: np.ndarray, cells: int) -> np.ndarray:
    """Cosine of each map with itself moved by `cells` up, down, left and right, their mean; `(n,)`.

    What moves in over the edge repeats the edge, which makes a place at the border look no steadier than
    one inside.
    """
    height, width = maps.shape[1:]
    padded = np.pad(maps, ((0, 0), (cells, cells), (cells, cells)), mode="edge")
    own = unit(maps)
    total = np.zeros(len(maps))
    for dy, dx in _STEPS:
        top, left = cells * (1 + dy), cells * (1 + dx)
        moved = padded[:, top : top + height, left : left + width]
        alive = moved.any(axis=(1, 2))  # moved off the map, nothing is left to resemble
        total[alive] += (own[alive] * unit(moved[alive])).sum(axis=1)
    return total / len(_STEPS)


def position_stability(
    maps: np.ndarray, codes: np.ndarray, *, seed: int, replicates: int = REPLICATES
) -> tuple[float, float]:
    """How steadily maps of different groups look at one place.

    `(S - R) / (1 - R)`: S is the mean cosine of two maps of different groups, R that of a map with itself
    moved by one cell. 1: all look at exactly the same place. 0 and below: the place moves by a cell or
    more, so negative values are given as 0. Pairs inside one group count for nothing: neighbouring frames
    of a video resemble each other whatever the model looks at.

    Args:
        maps: float `(n, h, w)`, >= 0, none dead.
        codes: int `(n,)`, group of each map, 0 to groups - 1.
        seed: of the bootstrap over groups.
        replicates: its number of samples.

    Returns:
        Stability and its lower bound (one-sided, `LEVEL`), each 0..1; NaN with fewer than two groups.
    """
    groups = int(codes.max()) + 1 if len(codes) else 0
    if groups < 2:
        return float("nan"), float("nan")
    sums = np.zeros((groups, maps[0].size))
    np.add.at(sums, codes, unit(maps))
    sizes = np.bincount(codes, minlength=groups).astype(np.float64)
    moved = np.bincount(codes, resemblance_moved(maps, 1), minlength=groups)
    own = (sums**2).sum(axis=1)

    def of(counts: np.ndarray) -> np.ndarray:
        squares = counts**2
        pairs = (counts @ sizes) ** 2 - squares @ sizes**2
        alike = ((counts @ sums) ** 2).sum(axis=1) - squares @ own
        between = np.divide(alike, pairs, out=np.zeros(len(counts)), where=pairs > 0)
        nearby = (counts @ moved) / (counts @ sizes)
        room = 1.0 - nearby
        share = np.divide(between - nearby, room, out=np.zeros(len(counts)), where=room > _FLAT)
        return np.asarray(np.clip(share, 0.0, 1.0))

    value = float(of(np.ones((1, groups)))[0])
    samples = of(group_counts(np.random.default_rng(seed), groups, replicates).astype(np.float64))
    return value, min(value, float(np.quantile(samples, 1 - LEVEL)))


def mean_map(maps: np.ndarray) -> np.ndarray:
    """Mean of the maps, each scaled to a mass of 1; float64 `(h, w)`."""
    scaled = maps / maps.max(axis=(1, 2), keepdims=True).astype(np.float64)
    return np.asarray((scaled / scaled.sum(axis=(1, 2), keepdims=True)).mean(axis=0))


def place_of(heat: np.ndarray) -> np.ndarray:
    """The fewest cells that hold half of the mass, bool `(h, w)`; cells of equal heat go together.

    A uniform map needs every cell, a gently falling one about half of them.
    """
    falling = np.sort(heat, axis=None)[::-1]
    last = falling[np.searchsorted(np.cumsum(falling), 0.5 * falling.sum() * (1 - 1e-9))]
    return np.asarray(heat >= last * (1 - 1e-9))


def box_of(place: np.ndarray) -> Box:
    """The smallest box around the cells of a place."""
    rows, columns = np.flatnonzero(place.any(axis=1)), np.flatnonzero(place.any(axis=0))
    return Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)


def covers_middle(place: np.ndarray) -> bool:
    """Whether the place covers a cell at the middle of the image (an even side has two in the middle)."""
    rows, columns = (
        slice((cells - 1) // 2, cells // 2 + 1) for cells in (place.shape[0], place.shape[1])
    )
    return bool(place[rows, columns].any())


def density(heat: np.ndarray, place: np.ndarray) -> float:
    """Mass per cell inside the place, relative to the whole map: 1 is what a uniform map has."""
    return float(heat[place].mean() / heat.mean())
