"""Per-image numbers from a raw heatmap and the valid region: pure functions on arrays.

All maps are ReLU'd, un-normalised and at their own resolution. A map is never up-sampled and never
min-max scaled before scoring: both bias a share of mass.

References: relevance mass accuracy, Arras et al. 2022 (arXiv 2003.07258); pointing game, Zhang et al.
2018 (arXiv 1608.00507).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_dilation

STATUSES = ("ok", "unreadable", "no_region", "below_resolution", "dead_map")
BLOCK = 1024
"""Maps looked at at once, in double precision."""


@dataclass(frozen=True)
class MapScores:
    """Scores of a batch of maps, each array of shape `(B,)`, float64.

    Attributes:
        invalid_activation: share of positive mass on invalid pixels, 0..1; NaN for a dead map.
        invalid_area: what a uniform map would score, 0..1.
        invalid_area_raw: the same without growing the region.
        invalid_lift: `invalid_activation / invalid_area`; NaN at area 0.
        peak_invalid: 1 when the maximum lies on an invalid cell, ties averaged; NaN for a dead map.
        dead: bool, the map is all zero where it counts, or holds a NaN.
        below_resolution: bool, the region covers less than one cell of the map.
        has_region: bool, the region is not empty.
    """

    invalid_activation: np.ndarray
    invalid_area: np.ndarray
    invalid_area_raw: np.ndarray
    invalid_lift: np.ndarray
    peak_invalid: np.ndarray
    dead: np.ndarray
    below_resolution: np.ndarray
    has_region: np.ndarray


def _overlap(pixels: int, cells: int) -> np.ndarray:
    """Share of each pixel row in each cell row, `(cells, pixels)`, rows sum to 1: exact area averaging."""
    edges = np.linspace(0.0, pixels, cells + 1)
    start = np.arange(pixels)
    inside = np.minimum(edges[1:, None], start + 1) - np.maximum(edges[:-1, None], start)
    weights = np.clip(inside, 0.0, 1.0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def region_on_grid(regions: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Average valid regions down to the map's grid.

    Args:
        regions: bool `(B, H, W)`, True = valid pixel.
        grid: height and width of the map in cells.

    Returns:
        float64 `(B, h, w)`, the valid share of each cell, 0..1. Pixels that straddle two cells count
        for both by area, so any image size goes with any grid.
    """
    height, width = regions.shape[1] // grid[0], regions.shape[2] // grid[1]
    if regions.shape[1:] == (grid[0] * height, grid[1] * width):  # whole pixels: counted, fifty times faster
        blocks = regions.view(np.uint8).reshape(len(regions), grid[0], height, regions.shape[2])
        rows = blocks.sum(axis=2, dtype=np.uint16).reshape(len(regions), *grid, width)
        return np.asarray(rows.sum(axis=3) / (height * width))
    down = _overlap(regions.shape[1], grid[0])
    across = _overlap(regions.shape[2], grid[1])
    return np.asarray(down @ regions.astype(np.float64) @ across.T)


def grow(valid: np.ndarray, tolerance: int) -> np.ndarray:
    """Grow the valid region by `tolerance` cells, since a map cell sees beyond its own border.

    Args:
        valid: float `(B, h, w)`, valid share of each cell, 0..1.
        tolerance: cells, >= 0. With 0 the shares stay as they are; with 1 or more every cell that is at
            most that many cells away from one with a valid part counts as valid in full.

    Returns:
        float64 `(B, h, w)`, 0..1.
    """
    if tolerance == 0:
        return valid
    side = 2 * tolerance + 1
    reached = binary_dilation(valid > 0, structure=np.ones((1, side, side), dtype=bool))
    return np.asarray(reached, dtype=np.float64)


@dataclass(frozen=True)
class RegionGrid:
    """Valid regions on the grid of a map, each array float `(B, h, w)`, 0..1.

    Attributes:
        counted: share of each cell that is not void; void pixels belong to neither side.
        valid: valid share of what counts in each cell, not grown.
    """

    valid: np.ndarray
    counted: np.ndarray

    def invalid(self, tolerance: int) -> np.ndarray:
        """Share of each cell that is invalid after growing the region, float64 `(B, h, w)`."""
        return np.asarray(self.counted * (1.0 - grow(self.valid, tolerance)))

    def invalid_share(self, maps: np.ndarray, tolerance: int) -> np.ndarray:
        """Share of the maps' mass on invalid pixels, among the mass that counts.

        Args:
            maps: float `(B, h, w)` or `(h, w)` for all, >= 0.
            tolerance: cells by which the region is grown.

        Returns:
            float64 `(B,)`, 0..1; NaN where no mass counts.
        """
        share = np.full(len(self.valid), np.nan)
        for start in range(0, len(share), BLOCK):
            part = slice(start, start + BLOCK)
            block = RegionGrid(self.valid[part], self.counted[part])
            heat = maps if maps.ndim == 2 else maps[part]
            invalid = (heat * block.invalid(tolerance)).sum(axis=(1, 2))
            mass = (heat * block.counted).sum(axis=(1, 2), dtype=np.float64)
            np.divide(invalid, mass, out=share[part], where=mass > 0)
        return share

    def take(self, rows: np.ndarray) -> RegionGrid:
        """The grids of some images."""
        return RegionGrid(self.valid[rows], self.counted[rows])


def regions_on_grid(regions: np.ndarray, voids: np.ndarray | None, grid: tuple[int, int]) -> RegionGrid:
    """Average valid and void pixels down to the map's grid.

    Args:
        regions: bool `(B, H, W)`, True = valid pixel.
        voids: bool `(B, H, W)`, True = belongs to neither side; None: no such pixel.
        grid: height and width of the map in cells.
    """
    valid = region_on_grid(regions, grid)
    if voids is None:
        return RegionGrid(valid, np.ones_like(valid))
    counted = 1.0 - region_on_grid(voids & ~regions, grid)
    counted = np.where(counted > 1e-9, counted, 0.0)
    share = np.divide(valid, counted, out=np.zeros_like(valid), where=counted > 0)
    return RegionGrid(np.clip(share, 0.0, 1.0), counted)


def score_maps(
    maps: np.ndarray, regions: np.ndarray, voids: np.ndarray | None = None, *, tolerance: int = 1
) -> MapScores:
    """Score raw maps against valid regions.

    Args:
        maps: float `(B, h, w)`, ReLU'd (negative values are refused).
        regions: bool `(B, H, W)`, True = valid pixel, aligned with the model's input.
        voids: bool `(B, H, W)`, True = belongs to neither side: neither mass nor area there counts.
        tolerance: cells by which the region is grown, since a map cell sees beyond its border.

    Raises:
        ValueError: shapes do not fit or a map has negative values.
    """
    if maps.ndim != 3 or regions.ndim != 3 or len(maps) != len(regions):
        raise ValueError(
            f"`maps` {maps.shape} and `regions` {regions.shape} must be (B, h, w) and (B, H, W)."
        )
    cells = regions_on_grid(regions, voids, (maps.shape[1], maps.shape[2]))
    return score_cells(maps, cells, np.asarray(regions.any(axis=(1, 2))), tolerance=tolerance)


def score_cells(
    maps: np.ndarray, cells: RegionGrid, has_region: np.ndarray, *, tolerance: int = 1
) -> MapScores:
    """`score_maps` for regions that are on the maps' grid already.

    Args:
        maps: float `(B, h, w)`, ReLU'd (negative values are refused).
        cells: the valid regions on the same grid.
        has_region: bool `(B,)`, the region has a valid pixel.
        tolerance: cells by which the region is grown.

    Raises:
        ValueError: a map has negative values.
    """
    maps = maps.astype(np.float64)
    if np.nanmin(maps, initial=0.0) < 0:
        raise ValueError("`maps` holds negative values; score the ReLU'd map.")
    maps = np.where(cells.counted > 0, maps, 0.0)
    total = maps.sum(axis=(1, 2))
    dead = ~(np.isfinite(total) & (total > 0))
    safe = np.where(dead[:, None, None], 1.0, maps)
    # Scaled by the maximum first: the sum of denormal or huge values must not lose the share.
    safe = safe / safe.max(axis=(1, 2), keepdims=True)
    activation = cells.invalid_share(safe, tolerance)
    peak = safe >= 1.0
    wholly = grow(cells.valid, tolerance) <= 0
    peak_invalid = (peak & wholly).sum(axis=(1, 2)) / peak.sum(axis=(1, 2))
    uniform = np.ones(maps.shape[1:])
    area = cells.invalid_share(uniform, tolerance)
    activation = np.where(dead, np.nan, np.clip(activation, 0.0, 1.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        lift = np.where(area > 0, activation / area, np.nan)
    return MapScores(
        invalid_activation=activation,
        invalid_area=area,
        invalid_area_raw=cells.invalid_share(uniform, 0),
        invalid_lift=lift,
        peak_invalid=np.where(dead, np.nan, peak_invalid),
        dead=dead,
        below_resolution=(cells.valid * cells.counted).sum(axis=(1, 2)) < 1.0,
        has_region=has_region,
    )


def centre_map(grid: tuple[int, int]) -> np.ndarray:
    """Gaussian in the middle of the map, sigma = a quarter of each side; float64 `(h, w)`."""
    y, x = (np.arange(cells) - (cells - 1) / 2 for cells in grid)
    return np.asarray(
        np.exp(-0.5 * (y[:, None] / (grid[0] / 4)) ** 2) * np.exp(-0.5 * (x[None, :] / (grid[1] / 4)) ** 2)
    )


def status_of(*, readable: bool, has_region: bool, below_resolution: bool, dead: bool) -> str:
    """The row's status, in the stated precedence."""
    if not readable:
        return "unreadable"
    if not has_region:
        return "no_region"
    if below_resolution:
        return "below_resolution"
    return "dead_map" if dead else "ok"
