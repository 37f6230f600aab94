"""The control charts as one self-contained HTML page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from camgate.operate.charts import Charted
from camgate.operate.monitoring import AuditPoint, Chart, Watched
from camgate.report.svg import percent, plot
from camgate.report.text import plain

HEIGHT = 150


def render_monitoring(
    title: str, points: Sequence[AuditPoint], charts: Sequence[Chart], watched: Watched
) -> str:
    """Render a series and its charts.

    Args:
        title: heading.
        points: the audits, the oldest first.
        charts: of `charts_of`.
        watched: of the newest audit.
    """
    style = (files("camgate.report") / "templates" / "report.css").read_text(encoding="utf-8")
    environment = Environment(
        loader=PackageLoader("camgate.operate"), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("monitoring.html").render(
        title=plain(title),
        style=Markup(style),  # noqa: S704 - a file of this package, never data
        watched=watched,
        charts=[{"name": plain(chart.name), "plot": control_plot(chart)} for chart in charts],
        audits=[
            {
                "time": point.time,
                "verdict": point.verdict.value,
                "run_id": point.run_id,
                "alarms": ", ".join(plain(chart.name) for chart in charts if chart.alarm_at(index)),
            }
            for index, point in enumerate(points)
        ],
    )


def control_plot(chart: Chart) -> Markup:
    """One control chart; audits run from left to right, values upwards."""
    shown = [
        value
        for point in chart.points
        for value in (point.reading.low, point.reading.high, point.limit, point.average)
        if math.isfinite(value)
    ]
    low, high = min(shown), max(shown)
    room = 0.05 * (high - low) or 0.05
    low, high = low - room, high + room

    def y(value: float) -> float:
        return round(6 + HEIGHT * (high - value) / (high - low), 1)

    xs = [percent((at + 0.5) / (chart.indices[-1] + 1)) for at in chart.indices]
    parts = [_grid(low, high, y(low), y(high))]
    before: tuple[str, Charted] | None = None
    for x, point in zip(xs, chart.points, strict=True):
        if before is not None and math.isfinite(point.centre):
            lines = [("limit", before[1].limit, point.limit), ("average", before[1].average, point.average)]
            lines.append(("centre", point.centre, point.centre))
            parts += [
                _line(kind, before[0], x, y(first), y(last))
                for kind, first, last in lines
                if math.isfinite(first)
            ]
        before = x, point
    for at, x, point in zip(chart.indices, xs, chart.points, strict=True):
        reading = point.reading
        parts.append(_line("span", x, x, y(reading.low), y(reading.high)))
        said = f"audit {at + 1}: {reading.value:.3f}, {reading.low:.3f} to {reading.high:.3f}, {point.state}"
        parts.append(
            Markup('<circle class="{}" cx="{}" cy="{}" r="4"><title>{}</title></circle>').format(
                "value out" if point.alarm else "value", x, y(reading.value), said
            )
        )
    alarms = sum(point.alarm for point in chart.points)
    return plot("control", HEIGHT + 30, f"{chart.name}: {len(chart.points)} audits, {alarms} alarms", parts)


def _grid(low: float, high: float, bottom: float, top: float) -> Markup:
    line = Markup('<line class="axis" x1="0%" x2="100%" y1="{0}" y2="{0}"/>').format(bottom)
    label = Markup('<text class="tick" x="0%" dx="-6" y="{}" text-anchor="end">{:.2f}</text>')
    foot = Markup(
        '<text class="tick" x="100%" y="{}" text-anchor="end">audits, the newest on the right</text>'
    )
    return line + label.format(bottom + 4, low) + label.format(top + 8, high) + foot.format(bottom + 18)


def _line(kind: str, left: str, right: str, first: float, last: float) -> Markup:
    return Markup('<line class="{}" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(kind, left, right, first, last)
