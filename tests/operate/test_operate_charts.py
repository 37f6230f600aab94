"""Control charts: each formula slowly again, alarms where there is a drift, and few where there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from camgate.errors import InputError
from camgate.gate.verdict import Status
from camgate.operate.charts import ChartOptions, Reading, baseline_of, control_chart
from camgate.operate.monitoring import AuditPoint, chart_metrics, charts_of, watched
from camgate.operate.page import render_monitoring


def reading(value: float, noise: float = 0.02) -> Reading:
    half = noise * 1.959964
    return Reading(value=value, low=value - half, high=value + half, n=100, groups=50)


def series(values: list[float], noise: float = 0.02) -> list[AuditPoint]:
    return [
        AuditPoint(
            time=f"2026-01-{day + 1:02d}T00:00:00+00:00",
            model_digest="m",
            data_digest=f"d{day}",
            run_id=f"run{day}",
            verdict=Status.PASS,
            sentence="ok",
            readings={
                "invalid_activation": {"overall": reading(value, noise), "class <dog>": reading(0.2, noise)},
                "background_gap": {"overall": reading(0.01, noise)},
            },
        )
        for day, value in enumerate(values)
    ]


def test_the_limits_by_their_formulas() -> None:
    values = [0.30, 0.34, 0.26, 0.33, 0.27, 0.31, 0.36, 0.33]
    noises = [0.01, 0.02, 0.015, 0.01, 0.02, 0.01, 0.02, 0.01]
    readings = [reading(value, noise) for value, noise in zip(values, noises, strict=True)]
    options = ChartOptions(baseline=5, false_alarms=0.01, weight=0.4)
    found = control_chart(readings, options, charts=3)
    assert [point.state for point in found[:5]] == ["baseline"] * 5

    weights = [1 / noise**2 for noise in noises[:5]]
    mean = sum(w * x for w, x in zip(weights, values, strict=False)) / sum(weights)
    q = sum(w * (x - mean) ** 2 for w, x in zip(weights, values, strict=False))
    between = max(0, (q - 4) / (sum(weights) - sum(w**2 for w in weights) / sum(weights)))
    assert between > 0
    weights = [1 / (noise**2 + between) for noise in noises[:5]]
    centre = sum(w * x for w, x in zip(weights, values, strict=False)) / sum(weights)

    def reach(variance: float, part: float) -> float:
        return float(stats.t.ppf(1 - 0.01 / 6, 4 * (variance / part) ** 2) * math.sqrt(variance))

    for step, point in enumerate(found[5:], start=1):
        own = [noise**2 + between for noise in noises[5 : 5 + step]]
        assert point.centre == pytest.approx(centre)
        uncertainty = 1 / sum(weights)
        assert point.limit == pytest.approx(centre + reach(own[-1] + uncertainty, between * 6 / 5))
        shares = [0.4 * 0.6 ** (step - 1 - at) for at in range(step)]
        average = 0.6**step * centre + sum(a * x for a, x in zip(shares, values[5:], strict=False))
        variance = sum(a**2 * v for a, v in zip(shares, own, strict=True))
        variance += sum(shares) ** 2 * uncertainty
        part = between * (sum(a**2 for a in shares) + sum(shares) ** 2 / 5)
        assert point.average == pytest.approx(average)
        assert point.average_limit == pytest.approx(centre + reach(variance, part))


def test_a_wide_interval_raises_no_alarm_where_a_narrow_one_does() -> None:
    calm = [reading(0.3) for _ in range(5)]
    assert control_chart([*calm, reading(0.5, noise=0.02)])[-1].state == "beyond_limit"
    assert control_chart([*calm, reading(0.5, noise=0.15)])[-1].state == "in_control"
    assert control_chart([*calm, reading(0.05)])[-1].state == "in_control", "better is no alarm"


def test_a_slow_drift_is_seen_by_the_average() -> None:
    states = [point.state for point in control_chart([reading(0.3)] * 5 + [reading(0.35)] * 8)]
    assert "beyond_limit" not in states
    assert states[-1] == "drift"


def test_a_baseline_that_varies_beyond_its_noise_widens_the_limits() -> None:
    calm = baseline_of([reading(0.3)] * 5)
    wild = baseline_of([reading(value) for value in (0.2, 0.4, 0.25, 0.35, 0.3)])
    assert calm[2] == 0
    assert wild[2] == pytest.approx(np.var([0.2, 0.4, 0.25, 0.35, 0.3], ddof=1) - 0.02**2, rel=0.01)


def test_few_false_alarms_over_all_charts_together() -> None:
    """Four charts in control, 3,000 audits: the rate that was asked for, within what chance allows."""
    chance, alarms, runs = np.random.default_rng(0), 0, 150
    options = ChartOptions(baseline=10, false_alarms=0.05)
    for _ in range(runs):
        charts = [
            control_chart([reading(0.3 + 0.02 * x) for x in chance.standard_normal(30)], options, charts=4)
            for _ in range(4)
        ]
        alarms += sum(any(chart[at].alarm for chart in charts) for at in range(10, 30))
    # An estimated centre and variance between audits cost something, see docs/how-to/monitoring.md.
    assert alarms / (20 * runs) < 0.08


def test_a_series_and_its_newest_audit() -> None:
    options = ChartOptions(baseline=3)
    points = series([0.3, 0.31, 0.29])
    assert watched("v1", points, charts_of(points, options), options).status == "baseline"
    points = series([0.3, 0.31, 0.29, 0.3])
    assert watched("v1", points, charts_of(points, options), options).status == "in_control"
    points = series([0.3, 0.31, 0.29, 0.3, 0.6])
    charts = charts_of(points, options)
    found = watched("v1", points, charts, options)
    assert (found.status, found.alarms) == ("alarm", ("invalid activation, overall",))
    assert "is 0.60 (95 % interval 0.56 to 0.64) and was 0.30 at the beginning" in found.sentence
    numbers = chart_metrics(charts, 4)
    assert numbers["invalid_activation/overall"] == 0.6
    assert numbers["alarms"] == 1
    assert AuditPoint.from_json(points[0].model_dump_json(), "file") == points[0]
    with pytest.raises(InputError, match=r"0001\.json: no audit of a series"):
        AuditPoint.from_json("{}", "0001.json")


def test_a_class_that_is_missing_from_an_audit_keeps_its_place_in_time() -> None:
    points = series([0.3] * 5)
    points[2].readings["invalid_activation"].pop("class <dog>")
    (chart,) = [each for each in charts_of(points) if each.part == "class <dog>"]
    assert chart.indices == (0, 1, 3, 4)


def test_the_page_shows_alarms_and_names_stay_text() -> None:
    points = series([0.3, 0.31, 0.29, 0.3, 0.6])
    options = ChartOptions(baseline=3)
    charts = charts_of(points, options)
    page = render_monitoring("<b>net</b>", points, charts, watched("net", points, charts, options))
    assert page.count('<svg class="plot control"') == 3
    assert page.count('class="value out"') == 1
    assert "class &lt;dog&gt;" in page
    assert "<b>net</b>" not in page
    assert "nan" not in page
