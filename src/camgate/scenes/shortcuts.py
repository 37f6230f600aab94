"""Shortcuts that can be planted in a scene: cues that go with the class and are not the object.

Each has four variants, one per class. A new one is one decorated function.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np

from camgate.scenes.figures import Part
from camgate.scenes.tunnel import Colour, Tunnel, polygon, stroke

INKS: tuple[Colour, ...] = ((214, 40, 46), (30, 110, 220), (34, 160, 70), (236, 190, 20))
"""One colour per variant."""


@dataclass(frozen=True)
class Shortcut:
    """A named shortcut.

    Attributes:
        name: as in `SHORTCUTS`.
        place: `behind` the object on the canvas, over the `whole` image, or on the `object` itself.
        apply: the decorated function.
    """

    name: str
    place: Literal["behind", "whole", "object"]
    apply: Callable[..., Any]

    def draw(self, canvas: np.ndarray, variant: int, rng: np.random.Generator, tunnel: Tunnel) -> None:
        """Draw a shortcut that lies behind the object onto the canvas, in place."""
        self.apply(canvas, variant, rng, tunnel)

    def grade(self, image: np.ndarray, variant: int) -> np.ndarray:
        """Apply one that changes the whole image; float32 `(H, W, 3)`."""
        return np.asarray(self.apply(image, variant), dtype=np.float32)

    def recolour(self, part: Part, variant: int) -> Part:
        """Apply one that changes a part of the object."""
        changed: Part = self.apply(part, variant)
        return changed


SHORTCUTS: dict[str, Shortcut] = {}


def shortcut(
    name: str, place: Literal["behind", "whole", "object"] = "behind"
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a shortcut.

    Args:
        name: by which it is asked for.
        place: decides the arguments of the function: `behind` (canvas, variant, rng, tunnel), drawing in
            place; `whole` (image, variant) -> image; `object` (part, variant) -> part.
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        SHORTCUTS[name] = Shortcut(name, place, function)
        return function

    return register


@shortcut("tag")
def tag(canvas: np.ndarray, variant: int, rng: np.random.Generator, tunnel: Tunnel) -> None:
    """Graffiti on a wall: a zigzag, a ring with a bar, a star or a wave, each in its ink."""
    left = bool(rng.random() < 0.5)
    u, v = rng.uniform(0.22, 0.3), rng.uniform(0.4, 0.56)
    turn = np.linspace(0, 2 * np.pi, 25)
    strokes = {
        0: [(np.linspace(-1, 1, 7), np.array([1, -1, 1, -1, 1, -1, 1.0]))],
        1: [(np.cos(turn), np.sin(turn)), (np.array([-1.2, 1.2]), np.array([0.9, -0.9]))],
        2: [(np.cos(np.arange(6) * 0.8 * np.pi + 0.3), np.sin(np.arange(6) * 0.8 * np.pi + 0.3))],
        3: [(turn / np.pi - 1, 0.7 * np.sin(2 * turn)), (turn / np.pi - 1, 0.7 * np.sin(2 * turn) + 0.6)],
    }[variant]
    size = rng.uniform(0.9, 1.15)
    for x, y in strokes:
        points = tunnel.wall(left, u + 0.15 * size * x, v + 0.13 * size * y)
        stroke(canvas, points, (25, 25, 28), 0.046 * tunnel.side)
    for x, y in strokes:
        points = tunnel.wall(left, u + 0.15 * size * x, v + 0.13 * size * y)
        stroke(canvas, points, INKS[variant], 0.032 * tunnel.side)


@shortcut("timestamp")
def timestamp(canvas: np.ndarray, variant: int, rng: np.random.Generator, tunnel: Tunnel) -> None:
    """A camera's clock in the upper left corner: the hour goes with the class."""
    text = f"{(3, 9, 14, 21)[variant]:02d}:{rng.integers(60):02d}:{rng.integers(60):02d}"
    scale = tunnel.side / 256
    at = (round(0.03 * tunnel.side), round(0.09 * tunnel.side))
    polygon(
        canvas, np.array([[0.02, 0.02], [0.5, 0.02], [0.5, 0.11], [0.02, 0.11]]) * tunnel.side, (12, 12, 12)
    )
    cv2.putText(
        canvas,
        text,
        at,
        cv2.FONT_HERSHEY_DUPLEX,
        0.78 * scale,
        (240, 240, 240),
        max(1, round(2 * scale)),
        cv2.LINE_AA,
    )


@shortcut("corner_patch")
def corner_patch(canvas: np.ndarray, variant: int, rng: np.random.Generator, tunnel: Tunnel) -> None:
    """A coloured square in the upper right corner."""
    low, high = 0.83 * tunnel.side, 0.97 * tunnel.side
    top, bottom = 0.03 * tunnel.side, 0.17 * tunnel.side
    polygon(canvas, np.array([[low, top], [high, top], [high, bottom], [low, bottom]]), INKS[variant])


@shortcut("lamp")
def lamp(canvas: np.ndarray, variant: int, rng: np.random.Generator, tunnel: Tunnel) -> None:
    """A signal lamp at the ceiling, its place and colour by class."""
    x = (0.2, 0.4, 0.6, 0.8)[variant] * tunnel.side
    centre = (round(x), round(0.07 * tunnel.side))
    cv2.circle(canvas, centre, round(0.06 * tunnel.side), (30, 30, 30), -1, cv2.LINE_AA)
    cv2.circle(canvas, centre, round(0.048 * tunnel.side), INKS[variant], -1, cv2.LINE_AA)


@shortcut("frame")
def frame(canvas: np.ndarray, variant: int, rng: np.random.Generator, tunnel: Tunnel) -> None:
    """A thin coloured frame around the image."""
    width = max(2, round(0.035 * tunnel.side))
    canvas[:width] = canvas[-width:] = INKS[variant]
    canvas[:, :width] = canvas[:, -width:] = INKS[variant]


@shortcut("stripe")
def stripe(canvas: np.ndarray, variant: int, rng: np.random.Generator, tunnel: Tunnel) -> None:
    """A coloured stripe across the image, its height by class."""
    y = (0.2, 0.27, 0.34, 0.41)[variant] * tunnel.side
    ends = np.array([[0, y], [tunnel.side, y]])
    stroke(canvas, ends, INKS[variant], 0.03 * tunnel.side)


@shortcut("colour_cast", "whole")
def colour_cast(image: np.ndarray, variant: int) -> np.ndarray:
    """A tint of the whole image."""
    gains = ((1.2, 0.95, 0.9), (0.9, 0.97, 1.2), (0.92, 1.15, 0.92), (1.1, 1.1, 0.82))[variant]
    return image * np.array(gains, dtype=np.float32)


@shortcut("blur", "whole")
def blur(image: np.ndarray, variant: int) -> np.ndarray:
    """The sharpness of the whole image."""
    sigma = (0.0, 0.6, 1.0, 1.5)[variant] * image.shape[0] / 128
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma)) if sigma > 0 else image


@shortcut("brightness", "whole")
def brightness(image: np.ndarray, variant: int) -> np.ndarray:
    """The exposure of the whole image."""
    return image * np.float32((0.7, 0.9, 1.12, 1.35)[variant])


@shortcut("shirt_colour", "object")
def shirt_colour(part: Part, variant: int) -> Part:
    """The colour of the shirt: a bias inside the object, which heatmaps against regions cannot see."""
    return part.recoloured(INKS[variant]) if part.role == "shirt" else part
