"""Gallery pictures as data URIs, within a budget for the whole page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from camgate.audit.result import GalleryItem
from camgate.heatmaps.overlays import triptych

BUDGET = 3_600_000
"""Characters of base64 for all pictures of a page together."""
PANEL_WIDTH = 224
_STEPS = ((1.0, 82), (1.0, 70), (0.8, 65), (0.65, 60), (0.5, 50), (0.35, 40), (0.2, 30), (0.1, 20))


@dataclass(frozen=True)
class Picture:
    """A strip image | heatmap | heatmap with outline, ready for `src`."""

    source: str
    width: int
    height: int


def strip(item: GalleryItem, *, budget: int) -> Picture:
    """Encode an item's strip as WebP in at most `budget` characters.

    Size and quality go down step by step until it fits; the last step is taken whatever it weighs (a few
    hundred bytes).
    """
    full = triptych(item.image, item.heatmap, item.region)
    scale = min(1.0, 3 * PANEL_WIDTH / full.shape[1], 3 * PANEL_WIDTH / full.shape[0])
    source = ""
    for factor, quality in _STEPS:
        source = _encoded(_resized(full, scale * factor), quality)
        if len(source) <= budget:
            break
    return Picture(source, max(1, round(full.shape[1] * scale)), max(1, round(full.shape[0] * scale)))


def _resized(picture: np.ndarray, factor: float) -> np.ndarray:
    if factor >= 1:
        return picture
    size = max(1, round(picture.shape[1] * factor)), max(1, round(picture.shape[0] * factor))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))


def _encoded(picture: np.ndarray, quality: int) -> str:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, format="WEBP", quality=quality, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
