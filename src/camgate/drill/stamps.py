"""Stamps: marks of known size and place, in as many variants as there are classes.

A stamp never covers a valid pixel, the colour cast apart, which changes the whole image as a camera would.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

MOST_VARIANTS = 8
"""With more classes several share a variant: more could not be told apart at a few pixels."""


@dataclass(frozen=True)
class Stamp:
    """A kind of mark at one size.

    Attributes:
        kind: name in `KINDS`.
        area: share of the image it covers, 0..1; 1 for a cast.
        level: strength of a cast, 0..1.
    """

    kind: str
    area: float
    level: float = 1.0


def apply_stamp(
    stamp: Stamp, images: np.ndarray, regions: np.ndarray, variants: np.ndarray, *, corner: int, seed: int
) -> np.ndarray:
    """Stamped copies.

    Args:
        stamp: what.
        images: uint8 `(n, H, W, C)`.
        regions: bool `(n, H, W)`, valid pixels, which stay as they are.
        variants: int `(n,)`, 0 to `MOST_VARIANTS` - 1.
        corner: 0 to 3, see `free_corner`.
        seed: of what differs from image to image (a tag's place, a clock's minutes); the same for the same
            seed, so that the same images with other variants differ in the variant alone.

    Returns:
        uint8 `(n, H, W, C)`.
    """
    draw = KINDS[stamp.kind]
    stamped = np.empty_like(images)
    for number, (image, region, variant) in enumerate(zip(images, regions, variants, strict=True)):
        rng = np.random.default_rng((seed, number))
        canvas = image.copy()
        changed = draw(canvas, int(variant), stamp, corner, rng)
        keep = region if stamp.kind != "cast" else np.zeros_like(region)
        stamped[number] = np.where(keep[..., None], image, changed)
    return stamped


def free_corner(regions: np.ndarray, area: float) -> int:
    """The corner in which a square of that area overlaps valid pixels least: 0 top left, then clockwise."""
    shape = (regions.shape[1], regions.shape[2], 1)
    mean = regions.mean(axis=0)
    return int(np.argmin([mean[_corner_box(shape, area, corner)].mean() for corner in range(4)]))


def ink(variant: int, channels: int) -> np.ndarray:
    """Colour of a variant, uint8 `(channels,)`: hues for RGB, grey levels for one channel, else a code."""
    if channels == 3:
        hue = colorsys.hsv_to_rgb(variant / MOST_VARIANTS, 0.85, 0.9 if variant % 2 else 0.75)
        return np.round(np.array(hue) * 255).astype(np.uint8)
    if channels == 1:
        return np.array([round(20 + 215 * variant / (MOST_VARIANTS - 1))], dtype=np.uint8)
    return np.random.default_rng(variant).choice(np.array([20, 235], dtype=np.uint8), channels)


Box = tuple[slice, slice]


def _corner_box(shape: tuple[int, ...], area: float, corner: int, *, aspect: float = 1.0) -> Box:
    height, width = shape[:2]
    tall = max(1, round(np.sqrt(area * height * width / aspect)))
    wide = max(1, round(tall * aspect))
    tall, wide = min(tall, height), min(wide, width)
    gap = round(0.02 * min(height, width))
    top = gap if corner in (0, 1) else height - tall - gap
    left = gap if corner in (0, 3) else width - wide - gap
    top, left = max(0, min(top, height - tall)), max(0, min(left, width - wide))
    return slice(top, top + tall), slice(left, left + wide)


def _patch(
    canvas: np.ndarray, variant: int, stamp: Stamp, corner: int, rng: np.random.Generator
) -> np.ndarray:
    """A coloured square in a corner: the colour goes with the class."""
    canvas[_corner_box(canvas.shape, stamp.area, corner)] = ink(variant, canvas.shape[2])
    return canvas


def _tag(canvas: np.ndarray, variant: int, stamp: Stamp, corner: int, rng: np.random.Generator) -> np.ndarray:
    """A letter in one ink somewhere along the upper or lower edge: its shape goes with the class."""
    rows, columns = _corner_box(canvas.shape, stamp.area, corner)
    wide = columns.stop - columns.start
    left = int(rng.integers(0, max(1, canvas.shape[1] - wide)))
    _write(canvas, (rows, slice(left, left + wide)), "AXOTHZLV"[variant], ink(1, canvas.shape[2]))
    return canvas


def _timestamp(
    canvas: np.ndarray, variant: int, stamp: Stamp, corner: int, rng: np.random.Generator
) -> np.ndarray:
    """A camera's clock on a dark bar: the hour goes with the class."""
    box = _corner_box(canvas.shape, stamp.area, corner, aspect=3.0)
    canvas[box] = 12
    _write(canvas, box, f"{3 * variant:02d}:{rng.integers(60):02d}", np.full(canvas.shape[2], 240, np.uint8))
    return canvas


def _frame(
    canvas: np.ndarray, variant: int, stamp: Stamp, corner: int, rng: np.random.Generator
) -> np.ndarray:
    """A coloured frame around the image."""
    height, width = canvas.shape[:2]
    # (h - 2t)(w - 2t) = (1 - area) h w
    half = (height + width) / 4
    thick = max(1, round(half - np.sqrt(half**2 - stamp.area * height * width / 4)))
    colour = ink(variant, canvas.shape[2])
    canvas[:thick] = canvas[-thick:] = colour
    canvas[:, :thick] = canvas[:, -thick:] = colour
    return canvas


def _cast(
    canvas: np.ndarray, variant: int, stamp: Stamp, corner: int, rng: np.random.Generator
) -> np.ndarray:
    """A tint of the whole image."""
    colour = ink(variant, canvas.shape[2]).astype(np.float32)
    gain = 1 + 0.5 * stamp.level * (colour - colour.mean() + (0 if len(colour) > 1 else colour - 128)) / 128
    return np.asarray(np.clip(np.rint(canvas * gain), 0, 255).astype(np.uint8))


def _write(canvas: np.ndarray, box: Box, text: str, colour: np.ndarray) -> None:
    """Text that fills a box, drawn large and scaled down."""
    tall, wide = box[0].stop - box[0].start, box[1].stop - box[1].start
    font, thick = cv2.FONT_HERSHEY_SIMPLEX, 5
    (across, up), down = cv2.getTextSize(text, font, 2.0, thick)
    letters = np.zeros((up + down + 2 * thick, across + 2 * thick), dtype=np.uint8)
    cv2.putText(letters, text, (thick, up + thick), font, 2.0, 255, thick, cv2.LINE_AA)
    cover = (
        cv2.resize(letters, (wide, tall), interpolation=cv2.INTER_AREA).astype(np.float32)[..., None] / 255
    )
    canvas[box] = np.rint(cover * colour + (1 - cover) * canvas[box]).astype(np.uint8)


KINDS: dict[str, Callable[..., np.ndarray]] = {
    "patch": _patch,
    "tag": _tag,
    "timestamp": _timestamp,
    "frame": _frame,
    "cast": _cast,
}
