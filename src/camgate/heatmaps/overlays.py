"""Pictures of heatmaps. Here, and only here, a map may be scaled: pictures may be, numbers may not."""

from __future__ import annotations

import cv2
import numpy as np

LEAST_SIDE = 192
"""Small images are enlarged to this many pixels on their shorter side before anything is drawn."""


def colourise(heatmap: np.ndarray) -> np.ndarray:
    """A map in colours, its own maximum brightest.

    Args:
        heatmap: float `(h, w)`, >= 0; NaN counts as 0. An all-zero map stays dark.

    Returns:
        uint8 `(h, w, 3)`, RGB.
    """
    return _colours(_scaled(heatmap))


def overlay(image: np.ndarray, heatmap: np.ndarray, alpha: float = 0.6) -> np.ndarray:
    """The map laid over the image, more opaque where it is hotter, so that the rest stays visible.

    Args:
        image: uint8 `(H, W, 3)`, RGB.
        heatmap: float `(h, w)`, >= 0, at its own resolution.
        alpha: opacity at the maximum, 0..1.

    Returns:
        uint8 `(H, W, 3)`.
    """
    height, width = image.shape[:2]
    heat = np.clip(cv2.resize(_scaled(heatmap), (width, height), interpolation=cv2.INTER_CUBIC), 0, 1)
    opacity = (alpha * np.sqrt(heat))[..., None]
    grey = image.mean(axis=2, keepdims=True)
    backdrop = 0.45 * image + 0.55 * grey  # muted, so that the colours of the map are not the image's
    return _bytes((1 - opacity) * backdrop + opacity * _colours(heat))


def outline(
    image: np.ndarray, region: np.ndarray, colour: tuple[int, int, int] = (255, 255, 255)
) -> np.ndarray:
    """The border of the valid region, a line of `colour` on a dark edge that shows on any background.

    Args:
        image: uint8 `(H, W, 3)`, RGB.
        region: bool `(H, W)`.
        colour: RGB.

    Returns:
        uint8 `(H, W, 3)`, a copy.
    """
    drawn = image.copy()
    contours, _ = cv2.findContours(region.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(drawn, contours, -1, (0, 0, 0), 3)
    cv2.drawContours(drawn, contours, -1, colour, 1)
    return drawn


def triptych(image: np.ndarray, heatmap: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Image | heatmap over it | the same with the outline of the valid region.

    Args:
        image: uint8 `(H, W, 3)`, RGB.
        heatmap: float `(h, w)`, raw map.
        region: bool `(H, W)`.

    Returns:
        uint8 `(H', 3 W' + gaps, 3)`, enlarged to `LEAST_SIDE` where the image is smaller.
    """
    factor = max(1.0, LEAST_SIDE / min(image.shape[:2]))
    size = round(image.shape[1] * factor), round(image.shape[0] * factor)
    large = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC))
    mask = np.asarray(cv2.resize(region.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST))
    hot = overlay(large, heatmap)
    gap = np.full((size[1], 4, 3), 255, dtype=np.uint8)
    return np.concatenate([large, gap, hot, gap, outline(hot, mask > 0)], axis=1)


def _scaled(heatmap: np.ndarray) -> np.ndarray:
    heat = np.nan_to_num(np.asarray(heatmap, dtype=np.float32), nan=0.0, posinf=0.0, neginf=0.0).clip(min=0)
    top = float(heat.max(initial=0.0))
    return heat / top if top > 0 else heat


def _colours(heat: np.ndarray) -> np.ndarray:
    blue_green_red = np.asarray(cv2.applyColorMap(_bytes(255 * heat), cv2.COLORMAP_TURBO), dtype=np.uint8)
    return np.ascontiguousarray(blue_green_red[..., ::-1])


def _bytes(values: np.ndarray) -> np.ndarray:
    pixels: np.ndarray = np.rint(values.clip(0, 255)).astype(np.uint8)
    return pixels
