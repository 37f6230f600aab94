"""Plots say what the data say: every position is worked out again, slowly, from the numbers."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camgate.report import svg
from camgate.report.svg import Mark

shares = st.floats(0, 1, allow_nan=False, allow_subnormal=False)


def tree(markup: str) -> ET.Element:
    return ET.fromstring(str(markup))


def at(element: ET.Element, name: str) -> float:
    value = element.get(name)
    assert value is not None
    return float(value.rstrip("%")) / 100


def of_class(root: ET.Element, tag: str, name: str) -> list[ET.Element]:
    return [element for element in root.iter(tag) if name in (element.get("class") or "").split()]


@given(shares, shares, shares, shares, st.booleans())
def test_value_interval_and_limit_share_one_axis(
    a: float, b: float, c: float, limit: float, smaller: bool
) -> None:
    low, value, high = sorted((a, b, c))
    root = tree(
        svg.interval_plot(value=value, low=low, high=high, limit=limit, unit="ratio", smaller=smaller) or ""
    )
    start, stop = svg.axis([value, low, high, limit], "ratio", smaller=smaller)
    assert start <= min(low, limit)
    assert max(high, limit) <= stop

    def place(x: float) -> float:
        return pytest.approx((x - start) / (stop - start), abs=1e-4)  # type: ignore[no-any-return]

    [dot], [mark] = of_class(root, "circle", "value"), of_class(root, "line", "limit")
    span = of_class(root, "line", "span")[0]
    assert at(dot, "cx") == place(value)
    assert at(mark, "x1") == at(mark, "x2") == place(limit)
    assert (at(span, "x1"), at(span, "x2")) == (place(low), place(high))
    [zone] = of_class(root, "rect", "passing")
    left, right = at(zone, "x"), at(zone, "x") + at(zone, "width")
    assert (
        (left, right) == (pytest.approx(0, abs=1e-4), place(limit))
        if smaller
        else (
            place(limit),
            pytest.approx(1, abs=1e-4),
        )
    )


def test_the_limit_is_named_with_its_direction() -> None:
    low = str(svg.interval_plot(value=0.5, low=0.4, high=0.6, limit=0.4, unit="ratio", smaller=True))
    high = str(svg.interval_plot(value=0.9, low=0.8, high=1, limit=0.85, unit="percent", smaller=False))
    assert "passes ≤ 0.40" in low
    assert "passes ≥ 85.0" in high
    assert "95 % interval 80.0 to 100.0" in high


@pytest.mark.parametrize("missing", [None, float("nan"), float("inf")])
def test_what_is_missing_is_not_drawn(missing: float | None) -> None:
    assert svg.interval_plot(value=missing, low=0, high=1, limit=1, unit="ratio", smaller=True) is None
    bare = tree(
        svg.interval_plot(value=0.5, low=missing, high=1, limit=missing, unit="ratio", smaller=True) or ""
    )
    assert not of_class(bare, "line", "span")
    assert not of_class(bare, "line", "limit")
    assert of_class(bare, "circle", "value")


@given(st.lists(shares, min_size=1, max_size=60), st.lists(shares, max_size=4))
def test_histogram_counts_and_marks(values: list[float], marks: list[float]) -> None:
    root = tree(
        svg.histogram(
            np.array([*values, np.nan]), [Mark("uniform", f"m{k}", x) for k, x in enumerate(marks)], name="h"
        )
        or ""
    )
    counts = [0] * svg.BINS
    for value in values:
        counts[next(b for b in range(svg.BINS) if value < (b + 1) / svg.BINS or b == svg.BINS - 1)] += 1
    drawn = {round(at(bar, "x") * svg.BINS): bar for bar in of_class(root, "rect", "bar")}
    # numpy's bin edges are k * 0.05 in floating point: a value on an edge may fall on either side of it
    on_edge = any(abs(value * svg.BINS - round(value * svg.BINS)) < 1e-9 for value in values)
    if not on_edge:
        assert set(drawn) == {b for b, amount in enumerate(counts) if amount}
        for b, bar in drawn.items():
            height = float(bar.get("height") or 0)
            assert height == pytest.approx(svg.PLOT_HEIGHT * counts[b] / max(counts), abs=0.06)
    total = sum(int(re.search(r": (\d+) images", title.text or "")[1]) for title in root.iter("title"))  # type: ignore[index]
    assert total == len(values)
    placed = sorted(at(line, "x1") for line in of_class(root, "line", "mark"))
    assert placed == pytest.approx(sorted(marks), abs=1e-4)


def test_labels_of_equal_marks_do_not_overlap() -> None:
    marks = [Mark(kind, kind, 0.3) for kind in ("mean", "uniform", "centre", "shuffled")]
    root = tree(svg.histogram(np.array([0.3]), marks, name="h") or "")
    rows = [
        float(label.get("y") or 0)
        for label in root.iter("text")
        if label.get("class") in {m.kind for m in marks}
    ]
    assert len(rows) == 4
    assert min(np.diff(sorted(rows))) >= 12  # the font's size


def test_no_finite_value_no_histogram() -> None:
    assert svg.histogram(np.array([np.nan]), [], name="h") is None
    assert svg.histogram(np.array([]), [], name="h") is None


def test_names_are_escaped() -> None:
    markup = str(svg.histogram(np.array([0.5]), [Mark("uniform", "<b>&", 0.5)], name='"><script>\x1b'))
    assert "<script>" not in markup
    assert "<b>" not in markup
    assert tree(markup).get("aria-label") == '"><script>\\x1b'
