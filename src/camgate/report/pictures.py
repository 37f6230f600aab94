"""Gallery pictures as data URIs, within a budget for the whole page.

A picture is three layers that the page puts together: the image, the raw map as a tiny transparent picture
that the browser enlarges, and the outline of the valid region as a path. So each is stored once, and the
reader can fade the map.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from camgate.heatmaps.overlays import colourise

BUDGET = 3_600_000
"""Characters of base64 for all gallery pictures of a page together."""
SIDE = 256
"""Longer side of a picture in pixels, at most."""
CELLS = 56
"""Longer side of a map as it is shown, in cells: what a finer one has is below what the eye sees here."""
OUTLINE = 6_000
"""Characters of the path of an outline, at most."""
_SHORTEST = 30
"""Characters of the path of one piece of it, about at least."""
_STEPS = ((1.0, 82), (1.0, 70), (0.8, 65), (0.65, 60), (0.5, 50), (0.35, 40), (0.2, 30), (0.1, 20))


@dataclass(frozen=True)
class Layers:
    """An image, its heatmap and its valid region, ready for the page.

    Attributes:
        image: data URI.
        heat: data URI of the map at its own size, colours with opacity; "" where there is none.
        outline: SVG path data of the region's border in the picture's pixels; "" where there is no region.
        width, height: of the picture in pixels.
    """

    image: str
    heat: str
    outline: str
    width: int
    height: int


def layers(
    image: np.ndarray, heatmap: np.ndarray | None, region: np.ndarray | None, *, budget: int
) -> Layers:
    """Encode a picture's layers.

    Args:
        image: uint8 `(H, W, 3)`.
        heatmap: float `(h, w)`, >= 0, raw; it is scaled to its own maximum. None for no map.
        region: bool `(H, W)`, valid pixels; None for no outline.
        budget: characters that the image may take: size and quality go down step by step until it fits; the
            last step is taken whatever it weighs (a few hundred).
    """
    scale = min(1.0, SIDE / max(image.shape[:2]))
    width, height = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    source = ""
    for factor, quality in _STEPS:
        source = encoded(_resized(image, scale * factor), quality)
        if len(source) <= budget:
            break
    return Layers(
        source,
        "" if heatmap is None or not np.nan_to_num(heatmap).any() else _transparent(heatmap),
        "" if region is None else outline_path(region, width, height),
        width,
        height,
    )


def encoded(picture: np.ndarray, quality: int = 80) -> str:
    """A picture, uint8 `(H, W, 3)`, as the data URI of a WebP."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, format="WEBP", quality=quality, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def outline_path(region: np.ndarray, width: int, height: int) -> str:
    """The borders of a region as SVG path data, simplified to half a pixel of the picture.

    A region so ragged that this takes more than `OUTLINE` characters is simplified further, and then loses
    its smallest pieces.

    Args:
        region: bool `(H, W)`.
        width: of the picture that it is drawn on.
        height: the same.
    """
    contours, _ = cv2.findContours(region.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    longest = sorted(contours, key=len, reverse=True)[: OUTLINE // _SHORTEST]
    factor = np.array([width / region.shape[1], height / region.shape[0]])
    borders = [((each[:, 0, :] + 0.5) * factor).astype(np.float32)[:, None] for each in longest]
    for tolerance in (0.5, 1.0, 2.0):
        parts = [_path(cv2.approxPolyDP(border, tolerance, closed=True)[:, 0]) for border in borders]
        if sum(map(len, parts)) <= OUTLINE:
            return "".join(parts)
    fitting = np.cumsum(list(map(len, parts))) <= OUTLINE
    return "".join(parts[: int(fitting.sum())])


def _path(points: np.ndarray) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + "Z"


def _transparent(heatmap: np.ndarray) -> str:
    """The map in colours, more opaque where it is hotter, one pixel a cell up to `CELLS` of them."""
    heat = np.nan_to_num(np.asarray(heatmap, dtype=np.float32), posinf=0.0, neginf=0.0).clip(min=0)
    heat = _resized(heat, CELLS / max(heat.shape))
    top = float(heat.max())
    opacity = np.sqrt(heat / top) if top > 0 else heat
    pixels = np.dstack([colourise(heat), np.rint(255 * opacity).astype(np.uint8)])
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _resized(picture: np.ndarray, factor: float) -> np.ndarray:
    if factor >= 1:
        return picture
    size = max(1, round(picture.shape[1] * factor)), max(1, round(picture.shape[0] * factor))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))
