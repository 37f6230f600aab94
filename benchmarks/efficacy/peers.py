"""What others would say of the same heatmaps, and what the images' accuracy alone says.

Each rule is written anew after its description and source; none of these projects is imported.
"""

from __future__ import annotations

import cv2
import numpy as np

BORDER = 0.15
"""Width of the border strip, as a share of the side."""


def share_on_object(maps: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Energy-based pointing game (Wang 2020) with masks, on maps as pytorch-grad-cam draws them.

    Min-max scaled for each image, then up-sampled to the image.

    Args:
        maps: float `(n, h, w)`.
        regions: bool `(n, H, W)`, not empty.

    Returns:
        float `(n,)`, the share inside; NaN for a map without contrast. A model is suspect below 0.5.
    """
    low, high = (reduce(maps, axis=(1, 2), keepdims=True) for reduce in (np.min, np.max))
    scaled = np.divide(maps - low, high - low, out=np.full_like(maps, np.nan), where=high > low)
    drawn = np.stack([_enlarged(one, regions.shape[1:]) for one in scaled])
    return np.asarray((drawn * regions).sum(axis=(1, 2)) / drawn.sum(axis=(1, 2)))


def overlap_at_half(maps: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """rai-check-dl's rule: of the cells at half the maximum or more, the share on the object.

    Masks at the map's resolution (a cell is on the object where at least half of it is); a dead map
    counts as 0. A model is suspect where the mean over images is below 0.5.
    """
    coarse = np.stack([_reduced(region, maps.shape[1:]) >= 0.5 for region in regions])
    top = maps.max(axis=(1, 2), keepdims=True)
    active = np.divide(maps, top, out=np.zeros_like(maps), where=top > 0) >= 0.5
    cells = active.sum(axis=(1, 2))
    return np.asarray(np.where(cells > 0, (active & coarse).sum(axis=(1, 2)) / np.maximum(cells, 1), 0.0))


def border_mass(maps: np.ndarray, labels: np.ndarray, size: tuple[int, int]) -> float:
    """bnnr's rule: mass in a strip of 15 % along the border, mean of a class, highest over the classes.

    A model is suspect above 0.30 (`1 - 2 * mass < 0.4` in its source).
    """
    drawn = np.stack([_enlarged(one, size) for one in maps])
    strip = np.ones(size, dtype=bool)
    rows, columns = (max(1, int(BORDER * side)) for side in size)
    strip[rows:-rows, columns:-columns] = False
    total = drawn.sum(axis=(1, 2))
    share = np.divide(drawn[:, strip].sum(axis=1), total, out=np.full(len(total), np.nan), where=total > 0)
    means = [np.nanmean(share[labels == label]) for label in np.unique(labels)]
    return float(np.nanmax(means))


def _enlarged(one: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(cv2.resize(one.astype(np.float32), size[::-1], interpolation=cv2.INTER_LINEAR))


def _reduced(region: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(cv2.resize(region.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA))
