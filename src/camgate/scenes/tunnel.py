"""The underpass itself: shell, lamps, and what has gathered on its walls."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

Points = np.ndarray
Colour = tuple[float, float, float]


def colour_of(values: np.ndarray) -> Colour:
    """Three numbers as a colour, cut to 0..255."""
    red, green, blue = (float(value) for value in np.clip(values, 0, 255))
    return red, green, blue


@dataclass(frozen=True)
class Tunnel:
    """Geometry and light of the underpass, in canvas pixels.

    Attributes:
        side: of the canvas.
        far: left, top, right and bottom of the far opening.
        light: overall brightness, about 1.
    """

    side: int
    far: tuple[float, float, float, float]
    light: float

    @classmethod
    def random(cls, rng: np.random.Generator, side: int) -> Tunnel:
        """The fixed camera with a slight jitter, and the light of the hour."""
        x = 0.5 + 0.015 * rng.standard_normal()
        y = 0.40 + 0.01 * rng.standard_normal()
        far = (x - 0.12, y - 0.10, x + 0.12, y + 0.11)
        return cls(side, tuple(side * value for value in far), float(rng.uniform(0.8, 1.15)))  # type: ignore[arg-type]

    def wall(self, left: bool, u: np.ndarray, v: np.ndarray) -> Points:
        """Points on a wall: u 0 (near) to 1 (far), v 0 (ceiling) to 1 (floor); `(n, 2)`."""
        u, v = np.asarray(u, dtype=float), np.asarray(v, dtype=float)
        far_x = self.far[0] if left else self.far[2]
        near_x = 0.0 if left else float(self.side)
        x = near_x + u * (far_x - near_x)
        top, bottom = u * self.far[1], self.side + u * (self.far[3] - self.side)
        points = np.empty((max(u.size, v.size), 2))
        points[:, 0], points[:, 1] = x, top + v * (bottom - top)
        return points

    @property
    def horizon(self) -> float:
        """Height of the vanishing point, in canvas pixels."""
        return (self.far[1] + self.far[3]) / 2


def polygon(canvas: np.ndarray, points: Points, colour: Colour | int) -> None:
    """A filled polygon."""
    cv2.fillPoly(canvas, [np.rint(points).astype(np.int32)], colour, cv2.LINE_AA)


def stroke(canvas: np.ndarray, points: Points, colour: Colour | int, thickness: float) -> None:
    """An open line with round joints."""
    path = [np.rint(points).astype(np.int32)]
    cv2.polylines(canvas, path, False, colour, max(1, round(thickness)), cv2.LINE_AA)


def draw_shell(tunnel: Tunnel, rng: np.random.Generator) -> np.ndarray:
    """Walls, floor, ceiling and the bright far end; uint8 `(side, side, 3)`."""
    side, (left, top, right, bottom) = tunnel.side, tunnel.far
    tint = rng.normal(0, 4, 3)
    grey = [colour_of(level * tunnel.light + tint) for level in (128, 120, 92, 108)]
    canvas = np.empty((side, side, 3), dtype=np.uint8)
    canvas[:] = 90
    corner = {
        "nw": (0, 0),
        "ne": (side, 0),
        "sw": (0, side),
        "se": (side, side),
        "a": (left, top),
        "b": (right, top),
        "c": (right, bottom),
        "d": (left, bottom),
    }
    for names, colour in zip(("nw a d sw", "ne b c se", "nw ne b a", "sw se c d"), grey, strict=True):
        polygon(canvas, np.array([corner[name] for name in names.split()]), colour)
    outside = colour_of(np.array([205, 214, 220]) * tunnel.light)
    polygon(canvas, np.array([corner[name] for name in "abcd"]), outside)
    steps = np.linspace(0, 1, 9)[1:-1] ** 0.7
    for left_side in (True, False):
        for u in steps:
            stroke(canvas, tunnel.wall(left_side, np.array([u, u]), np.array([0.0, 1.0])), (98, 98, 98), 1)
        for v in (0.25, 0.5, 0.75):
            stroke(canvas, tunnel.wall(left_side, np.array([0.0, 1.0]), np.array([v, v])), (106, 106, 106), 1)
    for x in np.linspace(-0.6, 1.6, 8):
        near = np.array([side * x, side])
        far = np.array([left + (right - left) * (x + 0.6) / 2.2, bottom])
        stroke(canvas, np.stack([near, far]), (88, 88, 88), 1)
    return canvas


def draw_lamps(canvas: np.ndarray, tunnel: Tunnel, rng: np.random.Generator) -> None:
    """A row of lamps along the ceiling, some of them out, and the light they throw."""
    middle = (tunnel.far[0] + tunnel.far[2]) / 2
    for u in (0.25, 0.5, 0.72, 0.88):
        on = rng.random() < 0.8
        y = u * tunnel.far[1]
        radius = tunnel.side * 0.06 * (1.05 - u)
        colour = (250.0, 246.0, 225.0) if on else (120.0, 120.0, 118.0)
        x = tunnel.side / 2 + u * (middle - tunnel.side / 2)
        axes = (max(1, round(2 * radius)), max(1, round(0.5 * radius)))
        cv2.ellipse(canvas, (round(x), round(y)), axes, 0, 0, 360, colour, -1, cv2.LINE_AA)
    ramp = np.linspace(1.06, 0.94, tunnel.side, dtype=np.float32)[:, None, None]
    tilt = np.linspace(1, 1 + rng.normal(0, 0.08), tunnel.side, dtype=np.float32)[None, :, None]
    # One gain for each number of the canvas: NumPy is slow where it must broadcast the last, short axis.
    gain = np.repeat(ramp * tilt, 3, axis=2)
    np.multiply(canvas, gain, out=gain)
    np.clip(gain, 0, 255, out=gain)
    canvas[:] = gain.astype(np.uint8)


def draw_clutter(canvas: np.ndarray, tunnel: Tunnel, rng: np.random.Generator) -> None:
    """Posters, stains, a pipe and scribbles at random: none of it goes with the class."""
    if rng.random() < 0.5:
        v = rng.uniform(0.06, 0.16)
        pipe = tunnel.wall(bool(rng.random() < 0.5), np.array([0.0, 1.0]), np.array([v, v]))
        stroke(canvas, pipe, (70, 74, 78), 0.016 * tunnel.side)
    for _ in range(rng.integers(0, 3)):
        u, v = rng.uniform(0.1, 0.7), rng.uniform(0.25, 0.5)
        du, dv = rng.uniform(0.08, 0.16), rng.uniform(0.12, 0.25)
        corners = np.array([u, u + du, u + du, u]), np.array([v, v, v + dv, v + dv])
        poster = tunnel.wall(bool(rng.random() < 0.5), *corners)
        shade = rng.uniform(110, 215)
        polygon(canvas, poster, colour_of(shade + rng.normal(0, 18, 3)))
        stroke(canvas, np.vstack([poster, poster[:1]]), (60, 60, 60), 1)
    for _ in range(rng.integers(1, 5)):
        centre = tunnel.wall(bool(rng.random() < 0.5), rng.uniform(0, 0.8, 1), rng.uniform(0.2, 1, 1))[0]
        radius = tunnel.side * rng.uniform(0.01, 0.04)
        shade = float(rng.uniform(60, 115))
        axes = (max(1, round(radius)), max(1, round(radius * rng.uniform(0.5, 2))))
        cv2.ellipse(canvas, tuple(int(c) for c in centre), axes, 0, 0, 360, (shade,) * 3, -1, cv2.LINE_AA)
    for _ in range(rng.integers(0, 3)):
        us = rng.uniform(0.15, 0.7) + np.cumsum(rng.normal(0, 0.03, 6))
        vs = rng.uniform(0.3, 0.7) + np.cumsum(rng.normal(0, 0.04, 6))
        line = tunnel.wall(bool(rng.random() < 0.5), np.clip(us, 0, 0.95), np.clip(vs, 0.05, 0.95))
        stroke(canvas, line, colour_of(rng.uniform(40, 170, 3)), 0.008 * tunnel.side)
