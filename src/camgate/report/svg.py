"""Inline SVG plots as safe markup.

Across, positions are percentages of the plot's own width, so that a plot fits any column while its text
keeps its size; down they are pixels. Colours come from the page's style sheet by class name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from camgate.audit.intervals import Estimate
from camgate.report.text import bare, finite, interval, number, plain
from camgate.report.words import Unit

BINS = 20
PLOT_HEIGHT = 130
LABEL_ROW = 17


@dataclass(frozen=True)
class Mark:
    """A vertical mark of the histogram: `kind` is its style's name, `x` a share 0..1."""

    kind: str
    label: str
    x: float


def percent(value: float, low: float = 0.0, high: float = 1.0) -> str:
    """Position of a value on an axis from `low` to `high`, as an SVG percentage cut to the axis."""
    share = (value - low) / (high - low)
    return f"{100 * min(max(share, 0.0), 1.0):.2f}%"


def axis(values: Sequence[float], unit: Unit, *, smaller: bool) -> tuple[float, float]:
    """Ends of the axis of an interval plot: all values with room; shares stay inside 0..1."""
    low, high = min(values), max(values)
    if smaller:
        low, high = min(low, 0.0), max(high, 0.0)
    room = 0.15 * (high - low) or 0.1
    floor = 0.0 if low >= 0 else -np.inf  # nothing is below zero: nor is the axis
    low, high = max(low - room, floor), high + room
    if unit == "percent":
        low, high = max(low, 0.0), min(high, 1.0)
        if high <= low:
            low, high = 0.0, 1.0
    return low, high


def interval_plot(
    *,
    value: float | None,
    low: float | None,
    high: float | None,
    limit: float | None,
    unit: Unit,
    smaller: bool,
) -> Markup | None:
    """An interval held against its limit; None where there is no value to show.

    The passing side of the limit is shaded and named in words.
    """
    centre = finite(value)
    if centre is None:
        return None
    ends = finite(low), finite(high)
    bound = finite(limit)
    start, stop = axis([x for x in (centre, *ends, bound) if x is not None], unit, smaller=smaller)
    parts = [Markup('<line class="axis" x1="0%" x2="100%" y1="31" y2="31"/>')]
    name = f"value {number(centre, unit)}"
    if ends[0] is not None and ends[1] is not None:
        name += f", 95 % interval {interval(ends[0], ends[1], unit)}"
    if bound is not None:
        x = percent(bound, start, stop)
        left, width = ("0%", x) if smaller else (x, f"{100 - float(x[:-1]):.2f}%")
        at = float(x[:-1])
        anchor = "start" if at < 20 else "end" if at > 80 else "middle"
        sign, direction = ("≤", "at most") if smaller else ("≥", "at least")
        parts += [
            Markup('<rect class="passing" x="{}" width="{}" y="3" height="28"/>').format(left, width),
            Markup('<line class="limit" x1="{0}" x2="{0}" y1="0" y2="35"/>').format(x),
            Markup('<text x="{}" y="47" text-anchor="{}">passes {} {}</text>').format(
                x, anchor, sign, bare(bound, unit)
            ),
        ]
        name += f"; passes {direction} {number(bound, unit)}"
    if ends[0] is not None and ends[1] is not None:
        first, last = (percent(end, start, stop) for end in ends if end is not None)
        parts.append(
            Markup(
                '<line class="span" x1="{0}" x2="{1}" y1="17" y2="17"/>'
                '<line class="span" x1="{0}" x2="{0}" y1="12" y2="22"/>'
                '<line class="span" x1="{1}" x2="{1}" y1="12" y2="22"/>'
            ).format(first, last)
        )
    parts.append(
        Markup('<circle class="value" cx="{}" cy="17" r="4.5"/>').format(percent(centre, start, stop))
    )
    return plot("interval", 52, name, parts)


def histogram(values: np.ndarray, marks: Sequence[Mark], *, name: str) -> Markup | None:
    """Counts of shares 0..1 in `BINS` equal bins, with named vertical marks; None without a finite value.

    Each mark's label has a row of its own above the bars, so labels never overlap.
    """
    finite_values = values[np.isfinite(values)]
    if not len(finite_values):
        return None
    counts, edges = np.histogram(np.clip(finite_values, 0, 1), bins=BINS, range=(0, 1))
    top = LABEL_ROW * len(marks) + 6
    floor = top + PLOT_HEIGHT
    most = int(counts.max())
    parts = [
        Markup('<line class="grid" x1="0%" x2="100%" y1="{0}" y2="{0}"/>').format(top),
        Markup('<text class="tick" x="0%" dx="-6" y="{}" text-anchor="end">{}</text>').format(top + 4, most),
        Markup('<text class="tick" x="0%" dx="-6" y="{}" text-anchor="end">0</text>').format(floor + 4),
    ]
    for amount, edge in zip(counts, edges[:-1], strict=True):
        height = PLOT_HEIGHT * amount / most
        if amount:
            parts.append(
                Markup(
                    '<rect class="bar" x="{}" width="{}" y="{:.1f}" height="{:.1f}"><title>{}</title></rect>'
                ).format(
                    percent(edge),
                    f"{100 / BINS:.2f}%",
                    floor - height,
                    height,
                    f"{100 * edge:.0f} to {100 * (edge + 1 / BINS):.0f} %: {amount} images",
                )
            )
    parts.append(Markup('<line class="axis" x1="0%" x2="100%" y1="{0}" y2="{0}"/>').format(floor))
    for tick in range(0, 101, 20):
        label = Markup('<text class="tick" x="{0}%" y="{1}" text-anchor="middle">{0}</text>')
        parts.append(label.format(tick, floor + 16))
    parts.append(
        Markup('<text class="title" x="50%" y="{}" text-anchor="middle">').format(floor + 36)
        + "% of positive heatmap mass outside the object"
        + Markup("</text>")
    )
    for row, mark in enumerate(sorted(marks, key=lambda mark: mark.x)):
        x, y = percent(mark.x), LABEL_ROW * row + 12
        side = ("end", -6) if mark.x > 0.55 else ("start", 6)
        parts.append(
            Markup(
                '<line class="mark {0}" x1="{1}" x2="{1}" y1="{2}" y2="{3}"/>'
                '<text class="{0}" x="{1}" y="{4}" dx="{6}" text-anchor="{5}">{7} {8}</text>'
            ).format(
                mark.kind, x, y - 9, floor, y, side[0], side[1], plain(mark.label), number(mark.x, "percent")
            )
        )
    return plot("histogram", floor + 42, name, parts)


@dataclass(frozen=True)
class Point:
    """A bin of the calibration diagram: mean confidence, accuracy with its interval, images."""

    x: float
    y: float
    low: float | None
    high: float | None
    n: int


def calibration(points: Sequence[Point], *, name: str) -> Markup:
    """Accuracy against confidence; on the diagonal both agree. The size of a dot tells its images."""
    height, most = 220, max(point.n for point in points)
    parts = [
        Markup('<line class="grid" x1="0%" x2="100%" y1="{0}" y2="{0}"/>').format(round(height * share) + 8)
        for share in (0, 0.25, 0.5, 0.75)
    ]
    parts.append(Markup('<line class="axis" x1="0%" x2="100%" y1="{0}" y2="{0}"/>').format(height + 8))
    parts.append(Markup('<line class="limit" x1="0%" y1="{}" x2="100%" y2="8"/>').format(height + 8))
    label = Markup(
        '<text class="tick" x="{0}%" y="{1}" text-anchor="middle">{0}</text>'
        '<text class="tick" x="0%" dx="-6" y="{2}" text-anchor="end">{0}</text>'
    )
    parts += [
        label.format(tick, height + 24, round(height * (1 - tick / 100)) + 12) for tick in range(0, 101, 25)
    ]
    for point in points:
        x, y = percent(point.x), 8 + height * (1 - point.y)
        if point.low is not None and point.high is not None:
            ends = 8 + height * (1 - point.low), 8 + height * (1 - point.high)
            parts.append(
                Markup('<line class="span" x1="{0}" x2="{0}" y1="{1:.1f}" y2="{2:.1f}"/>').format(x, *ends)
            )
        said = (
            f"{point.n} images with a mean confidence of {number(point.x, 'percent')}: "
            f"accuracy {number(point.y, 'percent')}"
        )
        radius = 3 + 6 * (point.n / most) ** 0.5
        dot = Markup('<circle class="value" cx="{}" cy="{:.1f}" r="{:.1f}"><title>{}</title></circle>')
        parts.append(dot.format(x, y, radius, said))
    parts.append(
        Markup('<text class="title" x="50%" y="{}" text-anchor="middle">').format(height + 44)
        + "confidence of the prediction (%), upwards: accuracy (%)"
        + Markup("</text>")
    )
    return plot("calibration", height + 50, name, parts)


def pair(
    candidate: tuple[float, float | None, float | None],
    champion: tuple[float, float | None, float | None],
    unit: Unit,
    *,
    name: str,
) -> Markup:
    """Two intervals on one axis, the candidate's above the champion's."""
    values = [x for entry in (candidate, champion) for x in entry if x is not None]
    start, stop = axis(values, unit, smaller=False)
    parts = [Markup('<line class="axis" x1="0%" x2="100%" y1="40" y2="40"/>')]
    for (value, low, high), y, kind in ((candidate, 12, "candidate"), (champion, 28, "champion")):
        if low is not None and high is not None:
            first, last = percent(low, start, stop), percent(high, start, stop)
            parts.append(
                Markup('<line class="span {3}" x1="{0}" x2="{1}" y1="{2}" y2="{2}"/>').format(
                    first, last, y, kind
                )
            )
        parts.append(
            Markup('<circle class="value {}" cx="{}" cy="{}" r="4.5"/>').format(
                kind, percent(value, start, stop), y
            )
        )
    for end, anchor in ((start, "start"), (stop, "end")):
        x = "0%" if anchor == "start" else "100%"
        parts.append(
            Markup('<text class="tick" x="{}" y="54" text-anchor="{}">{}</text>').format(
                x, anchor, bare(end, unit)
            )
        )
    return plot("interval", 58, name, parts)


def spread(values: np.ndarray, mean: Estimate, *, uniform: float) -> Markup:
    """A histogram of shares 0..1 for a table cell; below it the mean with its interval.

    A dashed line marks what a uniform map scores on the same images. The numbers stand beside it.
    """
    counts, _ = np.histogram(np.clip(values[np.isfinite(values)], 0, 1), bins=BINS, range=(0, 1))
    most = max(int(counts.max(initial=0)), 1)
    parts = [
        Markup('<rect class="bar" x="{}%" width="{:.1f}%" y="{:.1f}" height="{:.1f}"/>').format(
            round(100 * index / BINS), 100 / BINS - 0.6, 24 - 22 * amount / most, 22 * amount / most
        )
        for index, amount in enumerate(counts)
        if amount
    ]
    parts.append(Markup('<line class="axis" x1="0%" x2="100%" y1="24.5" y2="24.5"/>'))
    if finite(uniform) is not None:
        line = Markup('<line class="mark uniform" x1="{0}" x2="{0}" y1="0" y2="38"/>')
        parts.append(line.format(percent(uniform)))
    if finite(mean.low) is not None and finite(mean.high) is not None:
        line = Markup('<line class="span" x1="{}" x2="{}" y1="32" y2="32"/>')
        parts.append(line.format(percent(mean.low), percent(mean.high)))
    parts.append(Markup('<circle class="value" cx="{}" cy="32" r="3.5"/>').format(percent(mean.value)))
    return Markup('<svg class="spread interval" width="100%" height="38" aria-hidden="true">{}</svg>').format(
        Markup("").join(parts)
    )


def bar(share: float | None, *, kind: str = "bar") -> Markup:
    """A horizontal bar of a share 0..1; its number stands beside it."""
    width = percent(share) if share is not None else "0%"
    return Markup(
        '<svg class="hbar" width="100%" height="14" aria-hidden="true"><rect class="track" width="100%" '
        'height="14"/><rect class="{}" width="{}" height="14"/></svg>'
    ).format(kind, width)


def plot(kind: str, height: float, name: str, parts: Sequence[Markup]) -> Markup:
    """The parts as one plot, `height` in pixels and as wide as its column; `name` is read out."""
    return Markup('<svg class="plot {}" width="100%" height="{}" role="img" aria-label="{}">{}</svg>').format(
        kind, round(height), plain(name), Markup("").join(parts)
    )
