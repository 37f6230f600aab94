"""How often control charts cry wolf, and how soon they see a drift: `python benchmarks/control_charts.py`.

Each audit draws images in groups whose members resemble each other; the interval is the one that the audits
use. A series is five audits of baseline and then forty more; from the moment of the drift on, the mean is
higher by so much. Ten charts are watched together (four classes and the whole, two measures), all noise.
"""

from __future__ import annotations

import argparse

import numpy as np

from camgate.audit.statistics import mean_estimate
from camgate.operate.charts import ChartOptions, Reading, control_chart

CHARTS = 10
AFTER = 40


def reading(
    chance: np.random.Generator, mean: float, images: int, between: float, alike: float = 0.3
) -> Reading:
    """The mean of shares with a spread of 0.2, in groups of two, as an audit measures it."""
    centre = mean + between * chance.standard_normal()
    groups = np.repeat(np.arange(images // 2), 2)
    shared = np.sqrt(alike) * chance.standard_normal(images // 2)
    values = centre + 0.2 * (shared[groups] + np.sqrt(1 - alike) * chance.standard_normal(len(groups)))
    found = mean_estimate(np.clip(values, 0, 1), groups, replicates=199, seed=int(chance.integers(2**31)))
    return Reading(value=found.value, low=found.low, high=found.high, n=found.n, groups=found.groups)


def alarms(series: list[Reading], options: ChartOptions) -> np.ndarray:
    """Whether each audit after the baseline raises an alarm."""
    return np.array(
        [point.alarm for point in control_chart(series, options, charts=CHARTS)][options.baseline :]
    )


def false_alarms(
    chance: np.random.Generator, images: int, between: float, runs: int, options: ChartOptions
) -> float:
    """Share of in-control audits at which any of the charts raises an alarm."""
    found = []
    for _ in range(runs):
        charts = [
            alarms([reading(chance, 0.3, images, between) for _ in range(options.baseline + AFTER)], options)
            for _ in range(CHARTS)
        ]
        found.append(np.any(charts, axis=0).mean())
    return float(np.mean(found))


def delay(
    chance: np.random.Generator, images: int, shift: float, between: float, runs: int, options: ChartOptions
) -> tuple[float, float]:
    """Median audits from the drift to the alarm on that chart, and the share seen within `AFTER` audits."""
    waits = []
    for _ in range(runs):
        before = [reading(chance, 0.3, images, between) for _ in range(options.baseline)]
        after = [reading(chance, 0.3 + shift, images, between) for _ in range(AFTER)]
        seen = np.flatnonzero(alarms(before + after, options))
        waits.append(seen[0] + 1 if len(seen) else np.inf)
    return float(np.median(waits)), float(np.isfinite(waits).mean())


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    chance = np.random.default_rng(given.seed)
    print("| baseline | images | between audits | any false alarm, an audit | +0.05 | +0.10 | +0.20 |")
    print("|---|---|---|---|---|---|---|")
    for baseline, images, between in ((5, 30, 0.0), (5, 100, 0.0), (5, 100, 0.02), (10, 100, 0.02)):
        options = ChartOptions(baseline=baseline)
        wolf = false_alarms(chance, images, between, given.runs, options)
        cells = []
        for shift in (0.05, 0.10, 0.20):
            median, seen = delay(chance, images, shift, between, given.runs, options)
            told = "not seen" if np.isinf(median) else f"{median:.0f}"
            cells.append(f"{told} ({100 * seen:.0f} %)")
        print(
            f"| {baseline} | {images} | {between:g} | {100 * wolf:.2f} % | {' | '.join(cells)} |", flush=True
        )


if __name__ == "__main__":
    main()
