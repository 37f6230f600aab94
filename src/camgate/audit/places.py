"""Where a set of heatmaps looks, and whether that place moves: pure functions on arrays.

Objects move between images, overlays do not. How far is far is asked of the maps themselves: maps that
resemble each other no better than each resembles itself moved by one cell have moved by a cell or more.
So the measure needs no annotation, and a blurred map does not pass for a steady one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_dilation

from camgate.audit.resampling import REPLICATES, group_counts

LEVEL = 0.95
"""Of the one-sided lower bound of a stability."""
UNSTEADY = 0.5
"""Distance of the quartiles of a cell's heat over images, relative to the median, beyond which the cell is
not steady: under overlays 0.03 to 0.4, where objects pass mostly 0.5 to 2."""
LEAST_STEADY = 0.15
"""Share of the heat in steady cells below which nothing is steady."""
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


@dataclass(frozen=True)
class Look:
    """Where a set of maps looks.

    Attributes:
        heat: mean of the maps, each scaled to a mass of 1; float64 `(h, w)`.
        place: bool `(h, w)`, the fewest cells that hold half of the steady heat, or of all heat where too
            little is steady.
        steady: bool `(h, w)`, cells whose heat is about the same in most images.
        stability: of the place, 0..1; 0 where too little heat is steady, NaN with fewer than two groups.
        low: its one-sided lower bound.
    """

    heat: np.ndarray
    place: np.ndarray
    steady: np.ndarray
    stability: float
    low: float


def look_of(maps: np.ndarray, codes: np.ndarray, *, seed: int | None) -> Look:
    """Mean map, place and stability.

    Args:
        maps: float `(n, h, w)`, >= 0, none dead.
        codes: int `(n,)`, group of each map, 0 to groups - 1.
        seed: of the bootstrap; None: without it.
    """
    heat, steady = mean_map(maps), steady_cells(maps)
    if heat[steady].sum() < LEAST_STEADY:
        unknown = float("nan") if codes.max() < 1 else 0.0
        return Look(heat, place_of(heat), steady, unknown, unknown)
    # With the cells around it, where a place that moves would show.
    stability, low = position_stability(maps, codes, seed=seed, window=around(steady))
    return Look(heat, place_of(np.where(steady, heat, 0.0)), steady, stability, low)


def unit(maps: np.ndarray) -> np.ndarray:
    """Each map as a vector of length 1, float64 `(n, h * w)`; a product of two is their cosine.

    Args:
        maps: float `(n, h, w)`, >= 0; a map of zeros stays one.
    """
    rows = maps.reshape(len(maps), maps.shape[1] * maps.shape[2]).astype(np.float64)
    rows = _divided(rows, rows.max(axis=1, initial=0.0))  # squares of denormal values would vanish
    return _divided(rows, np.linalg.norm(rows, axis=1))


def _divided(rows: np.ndarray, by: np.ndarray) -> np.ndarray:
    return np.asarray(np.divide(rows, by[:, None], out=np.zeros_like(rows), where=by[:, None] > 0))


def steady_cells(maps: np.ndarray) -> np.ndarray:
    """Cells that get more than their share of heat, and in most images about as much; bool `(h, w)`.

    A map often shows two things, an overlay and the object that stands somewhere else in each image. The
    heat of cells that an object passes comes and goes; that of an overlay does not. Quartiles, since a
    few images may lack the overlay.

    Args:
        maps: float `(n, h, w)`, >= 0, none dead.
    """
    low, middle, high = np.quantile(_shares(maps), (0.25, 0.5, 0.75), axis=0)
    return np.asarray((middle * middle.size > 1.0) & (high - low <= UNSTEADY * middle))


def position_stability(
    maps: np.ndarray, codes: np.ndarray, *, seed: int | None, window: np.ndarray | None = None
) -> tuple[float, float]:
    """How steadily maps of different groups look at one place.

    The median over maps of `(c^2 - R) / (1 - R)`: c is the cosine of a map with the mean map of all other
    groups, so that c^2 is about its cosine with another single map, and R the median cosine of a map with
    itself moved by one cell (up, down, left and right; what moves in over the edge repeats the edge). 1:
    all look at exactly the same place. 0 and below: the place moves by a cell or more, so negative values
    are given as 0. A map's own group counts for nothing: neighbouring frames of a video resemble each
    other whatever the model looks at.

    Args:
        maps: float `(n, h, w)`, >= 0, none dead.
        codes: int `(n,)`, group of each map, 0 to groups - 1.
        seed: of the bootstrap over groups; None: no bound is asked for, the value stands in for it.
        window: bool `(h, w)`, cells that are looked at; None: all.

    Returns:
        Stability and its lower bound (one-sided, `LEVEL`), each 0..1; NaN with fewer than two groups.
    """
    groups = int(codes.max()) + 1 if len(codes) else 0
    if groups < 2:
        return float("nan"), float("nan")
    seen = np.ones(maps.shape[1:], dtype=bool) if window is None else window
    vectors = unit(maps * seen)
    sums = np.zeros((groups, vectors.shape[1]))
    np.add.at(sums, codes, vectors)
    others = _divided(sums.sum(axis=0) - sums, np.linalg.norm(sums.sum(axis=0) - sums, axis=1))
    alike = np.clip((vectors * others[codes]).sum(axis=1), 0.0, 1.0) ** 2
    moved = float(np.median(_resemblance_moved(maps, vectors, seen)))
    if 1.0 - moved <= _FLAT:
        return 0.0, 0.0
    share = np.clip((alike - moved) / (1.0 - moved), 0.0, 1.0)
    value = float(np.median(share))
    if seed is None:
        return value, value
    counts = group_counts(np.random.default_rng(seed), groups, REPLICATES)
    order = np.argsort(share, kind="stable")
    weight = np.cumsum(counts[:, codes[order]], axis=1)
    medians = share[order][(2 * weight < weight[:, -1:]).sum(axis=1)]
    return value, min(value, float(np.quantile(medians, 1 - LEVEL)))


def _resemblance_moved(maps: np.ndarray, vectors: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Cosine of each map with itself moved by one cell, mean over four ways; `(n,)`."""
    height, width = seen.shape
    padded = np.pad(maps, ((0, 0), (1, 1), (1, 1)), mode="edge")
    total = np.zeros(len(maps))
    for dy, dx in _STEPS:
        moved = padded[:, 1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]
        total += (vectors * unit(moved * seen)).sum(axis=1)
    return total / len(_STEPS)


def mean_map(maps: np.ndarray) -> np.ndarray:
    """Mean of the maps, each scaled to a mass of 1; float64 `(h, w)`."""
    return np.asarray(_shares(maps).mean(axis=0))


def _shares(maps: np.ndarray) -> np.ndarray:
    # Scaled by the maximum first: the sum of denormal or huge values must not lose the share.
    scaled = maps / maps.max(axis=(1, 2), keepdims=True).astype(np.float64)
    return np.asarray(scaled / scaled.sum(axis=(1, 2), keepdims=True))


def place_of(heat: np.ndarray) -> np.ndarray:
    """The fewest cells that hold half of the mass, bool `(h, w)`; cells of equal heat go together.

    All cells of a uniform map, nearly half of those of a gently falling one.
    """
    falling = np.sort(heat, axis=None)[::-1]
    last = falling[np.searchsorted(np.cumsum(falling), 0.5 * falling.sum() * (1 - 1e-9))]
    return np.asarray(heat >= last * (1 - 1e-9))


def around(place: np.ndarray) -> np.ndarray:
    """The place and the cells next to it."""
    return np.asarray(binary_dilation(place, structure=np.ones((3, 3), dtype=bool)))


def box_of(place: np.ndarray) -> Box:
    """The smallest box around the cells of a place."""
    rows, columns = np.flatnonzero(place.any(axis=1)), np.flatnonzero(place.any(axis=0))
    return Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)


def covers_middle(place: np.ndarray) -> bool:
    """Whether the place covers a cell at the middle of the image (an even side has two in the middle)."""
    rows, columns = (slice((cells - 1) // 2, cells // 2 + 1) for cells in (place.shape[0], place.shape[1]))
    return bool(place[rows, columns].any())


def density(heat: np.ndarray, place: np.ndarray) -> float:
    """Mass per cell inside the place, relative to the whole map: 1 is what a uniform map has."""
    return float(heat[place].mean() / heat.mean())
