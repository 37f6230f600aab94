"""A deterministic renderer of a pedestrian underpass, as one fixed camera sees it.

Everything about a scene follows from its seed. A scene rendered with another shortcut, or with another
variant of it, differs in the shortcut alone, so pairs of renders measure what a model makes of it.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import cv2
import numpy as np

from camgate.errors import InputError
from camgate.scenes.figures import CLASSES, Part, draw_parts, object_parts, paint_parts
from camgate.scenes.shortcuts import SHORTCUTS, Shortcut
from camgate.scenes.tunnel import Tunnel, draw_clutter, draw_lamps, draw_shell

OVERSAMPLING = 2
NOISE = 5.0
"""Standard deviation of the sensor's noise, in grey levels."""


@dataclass(frozen=True)
class Scene:
    """A rendered image and its valid pixels.

    Attributes:
        image: uint8 `(size, size, 3)`, RGB.
        mask: bool `(size, size)`, person with dog and leash or bicycle; the shadow is not part of it.
        variant: of the shortcut, None without one.
    """

    image: np.ndarray
    mask: np.ndarray
    variant: int | None


def render_scene(
    label: str,
    seed: int | tuple[int, ...],
    *,
    size: int = 128,
    shortcut: str | None = None,
    variant: int | None = None,
) -> Scene:
    """Render one scene.

    Args:
        label: one of `CLASSES`.
        seed: decides everything but the shortcut.
        size: side in pixels, at least 32.
        shortcut: name from `SHORTCUTS`.
        variant: 0..3, which of the shortcut's variants; by default that of the label's class.

    Raises:
        InputError: an unknown label, shortcut or variant, or a size too small to draw in.
    """
    _check(label, CLASSES, "class")
    if size < 32:
        raise InputError(f"`size` must be at least 32 pixels, not {size}.")
    chosen: Shortcut | None = None
    if shortcut is not None:
        _check(shortcut, tuple(SHORTCUTS), "shortcut")
        chosen = SHORTCUTS[shortcut]
        variant = CLASSES.index(label) if variant is None else variant
        if not 0 <= variant < len(CLASSES):
            raise InputError(f"`variant` must be 0 to {len(CLASSES) - 1}, not {variant}.")
    # Streams of their own: what one part draws never shifts the numbers of another.
    shell, clutter, figure, noise, extra = (
        np.random.default_rng(sequence) for sequence in np.random.SeedSequence(seed).spawn(5)
    )
    side = size * OVERSAMPLING
    tunnel = Tunnel.random(shell, side)
    canvas = draw_shell(tunnel, shell)
    draw_lamps(canvas, tunnel, shell)
    draw_clutter(canvas, tunnel, clutter)
    if chosen is not None and chosen.place == "behind":
        chosen.draw(canvas, int(variant or 0), extra, tunnel)
    parts = object_parts(label, tunnel, figure)
    if chosen is not None and chosen.place == "object":
        parts = [chosen.recolour(part, int(variant or 0)) for part in parts]
    cover = np.zeros((side, side), dtype=np.uint8)
    if parts:
        paint_parts(canvas, parts, tunnel)
        draw_parts(cover, parts)
    image = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32)
    mask = cv2.resize(cover, (size, size), interpolation=cv2.INTER_AREA) > 0
    image += np.repeat(NOISE * noise.standard_normal((size, size, 1), dtype=np.float32), 3, axis=2)
    image += 0.5 * NOISE * noise.standard_normal((size, size, 3), dtype=np.float32)
    if chosen is not None and chosen.place == "whole":
        image = chosen.grade(image, int(variant or 0))
    pixels = np.rint(np.clip(image, 0, 255)).astype(np.uint8)
    return Scene(pixels, mask, None if chosen is None else variant)


def _check(name: str, known: tuple[str, ...], what: str) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise InputError(f"no {what} {name!r}.{hint} There are: {', '.join(known)}.")


__all__ = ["CLASSES", "Part", "Scene", "render_scene"]
