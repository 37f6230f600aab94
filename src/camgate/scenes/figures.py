"""Who walks through the underpass: people, dogs and bicycles made of limbs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from camgate.scenes.tunnel import Colour, Tunnel, colour_of, polygon, stroke

CLASSES = ("empty", "pedestrian", "dog_walker", "bicyclist")

SKIN: tuple[Colour, ...] = ((224, 188, 160), (198, 150, 118), (150, 104, 76), (96, 66, 50))
FUR: tuple[Colour, ...] = ((92, 62, 40), (40, 36, 34), (205, 190, 165), (150, 112, 70), (225, 222, 215))


@dataclass(frozen=True)
class Part:
    """One limb.

    Attributes:
        role: `shirt`, `trousers`, `skin`, `hair`, `shoe`, `fur`, `leash`, `frame` or `tyre`.
        shape: `line`, `polygon`, `disc` or `ring`.
        points: `(n, 2)` in canvas pixels; centre of a disc or ring.
        width: of a line, or radius of a disc or ring, in canvas pixels.
        colour: RGB.
    """

    role: str
    shape: str
    points: np.ndarray
    width: float
    colour: Colour

    def recoloured(self, colour: Colour) -> Part:
        """The same part in another colour."""
        return replace(self, colour=colour)


def draw_parts(canvas: np.ndarray, parts: list[Part], *, flat: int | None = 255) -> None:
    """Draw parts in order; `flat` paints them all in one grey level (a mask), None in their colours."""
    for part in parts:
        colour: Colour | int = part.colour if flat is None else flat
        if part.shape == "polygon":
            polygon(canvas, part.points, colour)
        elif part.shape == "line":
            stroke(canvas, part.points, colour, part.width)
        else:
            centre = (round(float(part.points[0, 0])), round(float(part.points[0, 1])))
            thickness = -1 if part.shape == "disc" else max(1, round(0.16 * part.width))
            cv2.circle(canvas, centre, max(1, round(part.width)), colour, thickness, cv2.LINE_AA)


def paint_parts(canvas: np.ndarray, parts: list[Part], tunnel: Tunnel) -> None:
    """A soft shadow on the floor, then the object in its colours."""
    points = np.vstack([part.points for part in parts])
    bottom, left, right = points[:, 1].max(), points[:, 0].min(), points[:, 0].max()
    shadow = np.zeros(canvas.shape[:2], dtype=np.uint8)
    axes = (max(2, round(0.55 * (right - left))), max(2, round(0.025 * tunnel.side)))
    cv2.ellipse(shadow, (round((left + right) / 2), round(bottom)), axes, 0, 0, 360, 90, -1, cv2.LINE_AA)
    soft = np.asarray(cv2.blur(shadow, (9, 5)))
    rows = slice(max(0, round(bottom) - 24), None)
    dark = 1 - soft[rows, :, None].astype(np.float32) / 255
    canvas[rows] = (canvas[rows] * dark).astype(np.uint8)
    draw_parts(canvas, parts, flat=None)


def object_parts(label: str, tunnel: Tunnel, rng: np.random.Generator) -> list[Part]:
    """The object of a class somewhere on the floor; nothing for `empty`."""
    # Everything is drawn from the stream for every class, so that scenes stay comparable.
    foot = np.array([rng.uniform(0.3, 0.7), rng.uniform(0.74, 0.96)]) * tunnel.side
    height = rng.uniform(0.98, 1.14) * (foot[1] - tunnel.horizon)
    facing = 1.0 if rng.random() < 0.5 else -1.0
    look = _Look.random(rng)
    if label == "empty":
        return []
    if label == "bicyclist":
        foot[0] = np.clip(foot[0], 0.5 * height, tunnel.side - 0.5 * height)
        parts = _bicycle(look, rng)
    else:
        parts = _walker(look, rng)
        if label == "dog_walker":
            parts = _dog(rng) + parts
            # Person and dog must both be in the picture.
            room = 0.66 * height
            foot[0] = min(foot[0], tunnel.side - room) if facing > 0 else max(foot[0], room)
    scale = np.array([facing * height, -height])
    return [replace(part, points=foot + part.points * scale, width=part.width * height) for part in parts]


@dataclass(frozen=True)
class _Look:
    shirt: Colour
    trousers: Colour
    skin: Colour
    hair: Colour
    girth: float

    @classmethod
    def random(cls, rng: np.random.Generator) -> _Look:
        hue, saturation, value = rng.uniform(0, 180), rng.uniform(30, 200), rng.uniform(50, 235)
        hsv = np.array([[[hue, saturation, value]]], dtype=np.uint8)
        shirt = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0]
        dark = rng.uniform(30, 110)
        return cls(
            shirt=colour_of(shirt),
            trousers=colour_of(np.clip(dark + rng.normal(0, 14, 3), 15, 160)),
            skin=SKIN[rng.integers(len(SKIN))],
            hair=(float(dark * 0.6),) * 3,
            girth=float(rng.uniform(0.88, 1.15)),
        )


def _line(role: str, points: list[tuple[float, float]], width: float, colour: Colour) -> Part:
    return Part(role, "line", np.array(points), width, colour)


def _body(look: _Look, hip: tuple[float, float], shoulder: tuple[float, float]) -> list[Part]:
    """Torso and head; heights in units of the person's own, feet at 0."""
    half_hip, half_shoulder = 0.075 * look.girth, 0.105 * look.girth
    torso = np.array(
        [
            (hip[0] - half_hip, hip[1]),
            (hip[0] + half_hip, hip[1]),
            (shoulder[0] + half_shoulder, shoulder[1]),
            (shoulder[0] - half_shoulder, shoulder[1]),
        ]
    )
    head = (shoulder[0] + 0.3 * (shoulder[0] - hip[0]), shoulder[1] + 0.1)
    return [
        Part("shirt", "polygon", torso, 0, look.shirt),
        _line("skin", [shoulder, head], 0.05, look.skin),
        Part("hair", "disc", np.array([(head[0] - 0.008, head[1] + 0.012)]), 0.068, look.hair),
        Part("skin", "disc", np.array([(head[0] + 0.012, head[1] - 0.008)]), 0.056, look.skin),
    ]


def _walker(look: _Look, rng: np.random.Generator) -> list[Part]:
    stride, swing = rng.uniform(-0.13, 0.13), rng.uniform(-0.14, 0.14)
    hip, shoulder = (0.0, 0.5), (rng.uniform(-0.01, 0.03), 0.81)
    parts = []
    for sign in (-1, 1):
        knee, foot = (0.6 * sign * stride + 0.02, 0.27), (sign * stride, 0.02)
        start = (0.03 * sign, hip[1])
        parts.append(_line("trousers", [start, knee, foot], 0.085 * look.girth, look.trousers))
        parts.append(_line("shoe", [foot, (foot[0] + 0.05, 0.012)], 0.04, (28, 26, 26)))
    arms = []
    for sign in (-1, 1):
        elbow = (sign * 0.1 * look.girth - 0.5 * sign * swing, 0.63)
        hand = (sign * 0.09 - sign * swing + 0.03, 0.47)
        sleeve = _line("shirt", [(sign * 0.08 * look.girth, 0.78), elbow, hand], 0.055, look.shirt)
        arms += [sleeve, Part("skin", "disc", np.array([hand]), 0.026, look.skin)]
    return parts + arms[:2] + _body(look, hip, shoulder) + arms[2:]


def _dog(rng: np.random.Generator) -> list[Part]:
    fur = FUR[rng.integers(len(FUR))]
    size = rng.uniform(0.85, 1.2)
    x, back = rng.uniform(0.3, 0.36), 0.2 * size
    hind, fore = x, x + 0.2 * size
    gait = rng.uniform(-0.035, 0.035)
    leash = [(0.12, 0.47), (0.5 * (0.12 + fore), 0.3), (fore + 0.01, back + 0.02)]
    parts = [
        _line("leash", leash, 0.012, (35, 30, 30)),
        _line("fur", [(hind, back), (fore, back)], 0.105 * size, fur),
        _line("fur", [(fore, back), (fore + 0.055 * size, back + 0.075 * size)], 0.07 * size, fur),
        _line(
            "fur",
            [(fore + 0.05 * size, back + 0.085 * size), (fore + 0.115 * size, back + 0.065 * size)],
            0.055 * size,
            fur,
        ),
        _line("fur", [(hind, back + 0.02), (hind - 0.07 * size, back + 0.1 * size)], 0.024, fur),
        _line(
            "fur",
            [(fore + 0.04 * size, back + 0.1 * size), (fore + 0.035 * size, back + 0.15 * size)],
            0.03,
            fur,
        ),
    ]
    for leg, sign in ((hind, 1), (hind + 0.03, -1), (fore, -1), (fore - 0.03, 1)):
        parts.append(_line("fur", [(leg, back), (leg + sign * gait, 0.01)], 0.034 * size, fur))
    return parts


def _bicycle(look: _Look, rng: np.random.Generator) -> list[Part]:
    paint = colour_of(rng.uniform(25, 215, 3))
    radius, tyre = 0.185, (24.0, 24.0, 26.0)
    rear, front, axle = (-0.29, radius), (0.29, radius), (-0.04, 0.17)
    saddle, bar = (-0.13, 0.46), (0.21, 0.5)
    turn = rng.uniform(0, 2 * np.pi)
    pedal = np.array([np.cos(turn), np.sin(turn)]) * 0.075
    hip, shoulder = (-0.12, 0.52), (0.04, 0.82)
    parts = [Part("tyre", "ring", np.array([centre]), radius, tyre) for centre in (rear, front)]
    frame = [[rear, axle], [axle, bar], [saddle, bar], [saddle, axle], [rear, saddle], [front, bar]]
    parts += [_line("frame", line, 0.026, paint) for line in frame]
    parts.append(_line("frame", [bar, (0.25, 0.55)], 0.03, tyre))
    limbs = []
    for sign in (-1, 1):
        foot = (axle[0] + sign * float(pedal[0]), axle[1] + sign * float(pedal[1]))
        knee = (0.07 + 0.3 * (foot[0] - axle[0]), 0.5 * (foot[1] + hip[1]) + 0.04)
        limbs.append(_line("trousers", [hip, knee, foot], 0.085 * look.girth, look.trousers))
        limbs.append(_line("shoe", [foot, (foot[0] + 0.06, foot[1] - 0.01)], 0.04, (28, 26, 26)))
    arm = _line("shirt", [(0.04, 0.77), (0.15, 0.64), (0.24, 0.55)], 0.055, look.shirt)
    hand = Part("skin", "disc", np.array([(0.24, 0.55)]), 0.026, look.skin)
    return parts + limbs[:2] + _body(look, hip, shoulder) + limbs[2:] + [arm, hand]
