"""Where the model looks on average, what it says on other backgrounds, and how the champion compares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from camgate.audit import summary
from camgate.audit.intervals import Estimate
from camgate.audit.result import AuditResult
from camgate.report import svg, text
from camgate.report.pictures import Layers, encoded, layers
from camgate.report.words import Unit

AVERAGE_BUDGET, EXAMPLE_BUDGET = 40_000, 30_000
"""Characters of base64 for one picture."""


@dataclass(frozen=True)
class Average:
    """A class: its average image under its average map."""

    label: str
    note: str
    alt: str
    picture: Layers


@dataclass(frozen=True)
class Swap:
    """One picture of an example: on which background, what was predicted, how sure of the label."""

    background: str
    source: str
    predicted: str
    right: bool
    probability: str
    donor: str


@dataclass(frozen=True)
class Example:
    """An image on its own background and on those of a donor of its class and of another class."""

    image_id: str
    label: str
    width: int
    height: int
    swaps: tuple[Swap, ...]


@dataclass(frozen=True)
class Comparison:
    """A number of candidate and champion, with intervals, on one axis."""

    title: str
    candidate: str
    champion: str
    plot: Markup


def averages(result: AuditResult) -> tuple[Average, ...]:
    """Average image and map of classes, the most invalid activation first."""
    return tuple(
        Average(
            label=each.label,
            note=f"{text.count(each.images)} maps",
            alt=f"Average image of class {each.label} under the average of {each.images} heatmaps.",
            picture=layers(each.image, each.heatmap, None, budget=AVERAGE_BUDGET),
        )
        for each in result.averages
    )


def examples(result: AuditResult) -> dict[str, tuple[Example, ...]]:
    """Swapped backgrounds by kind: those that changed most, and a random sample."""
    found: dict[str, list[Example]] = {"changed": [], "sample": []}
    for each in result.examples:
        backgrounds = (
            ("its own background", ""),
            ("background of the same class", each.donors[0]),
            ("background of another class", each.donors[1]),
        )
        swaps = tuple(
            Swap(
                background=background,
                source=_within(picture, EXAMPLE_BUDGET),
                predicted=predicted,
                right=predicted == each.label,
                probability=text.number(probability, "percent"),
                donor=donor,
            )
            for (background, donor), predicted, probability, picture in zip(
                backgrounds, each.predicted, each.probability, each.pictures, strict=True
            )
        )
        height, width = each.pictures.shape[1:3]
        found[each.kind].append(Example(each.image_id, each.label, width, height, swaps))
    return {kind: tuple(entries) for kind, entries in found.items()}


def comparison(candidate: AuditResult, champion: AuditResult) -> tuple[Comparison, ...]:
    """Both audits' numbers side by side; the check `champion` judges the paired difference."""
    rows = []
    measures: tuple[tuple[str, Unit, Callable[[AuditResult], Estimate | None]], ...] = (
        ("Accuracy", "percent", summary.accuracy),
        ("Invalid activation", "percent", summary.activation),
        ("Invalid lift", "ratio", summary.lift),
        ("Background gap", "points", _gap),
    )
    for title, unit, measure in measures:
        ours, theirs = _triple(measure(candidate)), _triple(measure(champion))
        if ours is None or theirs is None:
            continue
        mine, other = _told(ours, unit), _told(theirs, unit)
        name = f"{title}: candidate {mine}, champion {other}"
        rows.append(Comparison(title, mine, other, svg.pair(ours, theirs, unit, name=name)))
    return tuple(rows)


def _gap(result: AuditResult) -> Estimate | None:
    found = summary.background_gap(result)
    return None if found is None else found.estimate


def _triple(estimate: Estimate | None) -> tuple[float, float | None, float | None] | None:
    value = None if estimate is None else text.finite(estimate.value)
    if estimate is None or value is None:
        return None
    return value, text.finite(estimate.low), text.finite(estimate.high)


def _told(found: tuple[float, float | None, float | None], unit: Unit) -> str:
    span = text.interval(found[1], found[2], unit)
    return text.number(found[0], unit) + (f" ({span})" if span else "")


def _within(picture: np.ndarray, budget: int) -> str:
    for quality in (82, 65, 45, 25):
        source = encoded(picture, quality)
        if len(source) <= budget:
            break
    return source
