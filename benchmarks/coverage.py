"""How often the intervals hold the truth: a seeded simulation, beside what ignores the groups.

python benchmarks/coverage.py                 # a quarter of an hour; tables into docs/statistics.md
python benchmarks/coverage.py --csv FILE      # all cells, too
python benchmarks/coverage.py --quick         # a tenth of the samples, printed only

Values of one group are tied by a Gaussian copula: their normal scores correlate by `correlation`, and what
they look like (`SHAPES`) stays the same, so that the truth is known exactly.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import special, stats

from camgate.audit.intervals import Estimate, wilson
from camgate.audit.statistics import Arm, detectable_excess, gap_sample, mean_sample, rate_sample
from camgate.audit.swaps import swap_sample

DOCS = Path(__file__).resolve().parents[1] / "docs" / "statistics.md"
SEED = 4
LEVEL = 0.95
GROUPS = (10, 14, 30, 100)
SIZES = ("1", "5", "20", "uneven")
CORRELATIONS = (0.0, 0.3, 0.7)
SAMPLES = {"activation": 600, "lift": 600, "rate": 2000, "gap": 500, "flips": 500}
"""Samples of each cell: one standard error of a coverage of 95 % is at most one point."""
SHAPES = ("symmetric", "skewed", "zeros")
RATES = {"symmetric": 0.5, "skewed": 0.15, "zeros": 0.05}
"""A rate has no shape but its value; an accuracy of 0.95 is a rate of 0.05 seen from the other end."""
ARMS = {"symmetric": (0.9, 0.6), "skewed": (0.95, 0.85), "zeros": (0.98, 0.96)}
"""Accuracy of the same-class and of the other-class arm."""
STAYS = {"symmetric": 0.6, "skewed": 0.9, "zeros": 0.98}
"""Chance that a swapped background leaves the label predicted; two swaps of an image differ less often."""
DRAWS = 3
_NAIVE_REPLICATES = 999
_SCORES = np.linspace(-7, 7, 4001)


@dataclass(frozen=True)
class Cell:
    """Where coverage is measured."""

    groups: int
    size: str
    correlation: float
    shape: str

    def codes(self) -> np.ndarray:
        """The group of each image; uneven groups hold 1 to 40 images, the largest a tenth to a third."""
        if self.size == "uneven":
            sizes = np.round(np.geomspace(1, 40, self.groups)).astype(int)
        else:
            sizes = np.full(self.groups, int(self.size))
        return np.repeat(np.arange(self.groups), sizes)


def cells() -> Iterator[Cell]:
    """All of them; groups of one image know no correlation inside."""
    for groups, size, correlation, shape in product(GROUPS, SIZES, CORRELATIONS, SHAPES):
        if size != "1" or correlation == 0:
            yield Cell(groups, size, correlation, shape)


def quantiles(shape: str, share: np.ndarray) -> np.ndarray:
    """Quantile function of a share of heatmap mass, 0..1."""
    if shape == "symmetric":
        return stats.beta.ppf(share, 6, 6)
    if shape == "skewed":
        return stats.beta.ppf(share, 0.8, 4)
    return np.where(share < 0.6, 0.0, stats.beta.ppf(np.clip((share - 0.6) / 0.4, 0, 1), 2, 4))


MEANS = {"symmetric": 0.5, "skewed": 0.8 / 4.8, "zeros": 0.4 / 3}


def scores(rng: np.random.Generator, codes: np.ndarray, correlation: float, count: int) -> np.ndarray:
    """Normal scores of `count` samples, float `(count, images)`."""
    of_group = rng.standard_normal((count, codes[-1] + 1))[:, codes]
    of_image = rng.standard_normal((count, len(codes)))
    return np.sqrt(correlation) * of_group + np.sqrt(1 - correlation) * of_image


def shaped(scores: np.ndarray, shape: str) -> np.ndarray:
    """Normal scores to shares."""
    return np.interp(scores, _SCORES, quantiles(shape, special.ndtr(_SCORES)))


def percentile_bootstrap(
    rng: np.random.Generator, values: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """Bounds by the percentile bootstrap over images, float `(count, 2)`: what ignores the groups."""
    n = values.shape[1]
    counts = rng.multinomial(n, np.full(n, 1 / n), size=_NAIVE_REPLICATES).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        means = (values @ counts.T) / (n if weights is None else weights @ counts.T)
    tail = 50 * (1 - LEVEL)
    return np.nanpercentile(means, [tail, 100 - tail], axis=1).T


def bounds(estimates: list[Estimate]) -> np.ndarray:
    """Low and high, float `(count, 2)`."""
    return np.array([(estimate.low, estimate.high) for estimate in estimates])


def activation(cell: Cell, count: int, rng: np.random.Generator) -> tuple[float, np.ndarray, np.ndarray]:
    """Mean invalid activation."""
    codes = cell.codes()
    values = shaped(scores(rng, codes, cell.correlation, count), cell.shape)
    ours = [mean_sample(row, codes, seed=i % 8).at(LEVEL) for i, row in enumerate(values)]
    return MEANS[cell.shape], bounds(ours), percentile_bootstrap(rng, values)


def lift(cell: Cell, count: int, rng: np.random.Generator) -> tuple[float, np.ndarray, np.ndarray]:
    """Invalid activation over invalid area: a ratio of means."""
    codes = cell.codes()
    areas = 0.2 + 0.7 * shaped(scores(rng, codes, cell.correlation, count), "symmetric")
    values = areas * shaped(scores(rng, codes, cell.correlation, count), cell.shape)
    ours = [
        mean_sample(value, codes, weights=area, bounds=(0, 1 / area.mean()), seed=i % 8).at(LEVEL)
        for i, (value, area) in enumerate(zip(values, areas, strict=True))
    ]
    return MEANS[cell.shape], bounds(ours), percentile_bootstrap(rng, values, areas)


def rate(cell: Cell, count: int, rng: np.random.Generator) -> tuple[float, np.ndarray, np.ndarray]:
    """Accuracy or peak rate."""
    codes, truth = cell.codes(), RATES[cell.shape]
    hits = scores(rng, codes, cell.correlation, count) < special.ndtri(truth)
    ours = [rate_sample(row, codes).at(LEVEL) for row in hits]
    naive = [wilson(mean, len(codes), special.ndtri((1 + LEVEL) / 2)) for mean in hits.mean(axis=1)]
    return truth, bounds(ours), np.array(naive)


def gap(cell: Cell, count: int, rng: np.random.Generator) -> tuple[float, np.ndarray, np.ndarray]:
    """Background gap; recipients' groups, donors' groups and images make a hit likely or not."""
    codes = cell.codes()
    recipient = np.repeat(codes, DRAWS)
    share = cell.correlation
    ease = np.repeat(scores(rng, codes, share, count), DRAWS, axis=1)  # of both arms alike
    truth, arms = 0.0, []
    for sign, accuracy in zip((1, -1), ARMS[cell.shape], strict=True):
        donor = (recipient + rng.integers(1, cell.groups, (count, len(recipient)))) % cell.groups
        own = np.repeat(scores(rng, codes, share, count), DRAWS, axis=1)  # of this arm
        luck = rng.standard_normal((count, len(recipient)))
        donors = rng.standard_normal((count, cell.groups))
        by_donor = np.sqrt(share) * np.take_along_axis(donors, donor, 1) + np.sqrt(1 - share) * luck
        total = np.sqrt(0.5) * ease + np.sqrt(0.25) * own + np.sqrt(0.25) * by_donor
        arms.append((total < special.ndtri(accuracy), donor))
        truth += sign * accuracy
    ours = [
        gap_sample(
            *(Arm(hits[i].astype(float), recipient, donor[i]) for hits, donor in arms),
            images=len(codes),
            seed=i,
        ).at(LEVEL)
        for i in range(count)
    ]
    differences = (arms[0][0].astype(float) - arms[1][0]).reshape(count, len(codes), DRAWS).mean(axis=2)
    return truth, bounds(ours), percentile_bootstrap(rng, differences)


def flips(cell: Cell, count: int, rng: np.random.Generator) -> tuple[float, np.ndarray, np.ndarray]:
    """Background flips: pairs of composites of an image, whose donors are of groups of their own."""
    codes, swaps, share = cell.codes(), 2 * DRAWS, cell.correlation
    limit = special.ndtri(STAYS[cell.shape])
    both = stats.multivariate_normal(cov=[[1, 0.5], [0.5, 1]]).cdf([limit, limit])
    image = np.arange(len(codes))
    first, second = np.triu_indices(swaps, 1)
    ours, shares = [], np.empty((count, len(codes)))
    for i, ease in enumerate(scores(rng, codes, share, count)):
        apart = rng.permuted(np.tile(np.arange(1, cell.groups), (len(codes), 1)), axis=1)[:, :swaps]
        donor = (codes[:, None] + apart) % cell.groups
        by_donor = np.sqrt(share) * rng.standard_normal(cell.groups)[donor]
        by_donor += np.sqrt(1 - share) * rng.standard_normal(donor.shape)
        hit = np.sqrt(0.5) * (ease[:, None] + by_donor) < limit
        differ = (hit[:, first] != hit[:, second]).astype(np.float64)
        shares[i] = differ.mean(axis=1)
        pairs = np.stack([donor[:, first], donor[:, second]], axis=2).reshape(-1, 2)
        ours.append(swap_sample(differ.ravel(), np.repeat(image, len(first)), codes, pairs, seed=i).at(LEVEL))
    return 2 * (STAYS[cell.shape] - both), bounds(ours), percentile_bootstrap(rng, shares)


MEASURES = {"activation": activation, "lift": lift, "rate": rate, "gap": gap, "flips": flips}


def coverage(measure: str, cell: Cell, count: int, *, seed: int = SEED) -> dict[str, float]:
    """Shares of samples, in percent.

    Returns:
        `covered`: the truth lies inside; `below` and `above`: the interval lies wholly below or above the
        truth (a gate that PASSes or FAILs wrongly); `naive`: the truth inside the interval that
        ignores the groups; `width`: mean width of ours over that of the naive one.
    """
    place = [list(MEASURES).index(measure), cell.groups, SIZES.index(cell.size), SHAPES.index(cell.shape)]
    rng = np.random.default_rng([seed, *place, round(10 * cell.correlation)])
    truth, ours, naive = MEASURES[measure](cell, count, rng)
    below, above = 100 * (ours[:, 1] < truth).mean(), 100 * (ours[:, 0] > truth).mean()
    inside = 100 * ((naive[:, 0] <= truth) & (truth <= naive[:, 1])).mean()
    return {
        "covered": 100 - below - above,
        "below": below,
        "above": above,
        "naive": inside,
        "width": float(np.diff(ours).mean() / np.diff(naive).mean()),
    }


def detectable(n: int, per_group: int, looks: int, *, count: int = 40, seed: int = SEED) -> dict[str, float]:
    """Mean smallest detectable excess over many samples of images that lie on the limit.

    Invalid activation as skewed as a beta (2, 5), correlation 0.3 inside a group; accuracy of 0.85; a gap
    of 0.10 between accuracies of 0.95 and 0.85.
    """
    rng = np.random.default_rng([seed, n, per_group])
    codes = np.arange(n) // per_group
    level = 1 - (1 - LEVEL) / looks
    normal = scores(rng, codes, 0.3, count)
    shares = stats.beta.ppf(special.ndtr(normal), 2, 5)
    donor = (np.repeat(codes, DRAWS) + rng.integers(1, codes[-1] + 1, (count, n * DRAWS))) % (codes[-1] + 1)
    arms = [
        np.repeat(normal, DRAWS, axis=1) * np.sqrt(0.5) + np.sqrt(0.5) * rng.standard_normal(donor.shape)
        < special.ndtri(accuracy)
        for accuracy in (0.95, 0.85)
    ]
    found = {
        "activation": [mean_sample(row, codes) for row in shares],
        "accuracy": [rate_sample(row < special.ndtri(0.85), codes) for row in normal],
        "gap": [
            gap_sample(
                *(Arm(hits[i].astype(float), np.repeat(codes, DRAWS), donor[i]) for hits in arms), images=n
            )
            for i in range(count)
        ],
    }
    return {
        name: float(np.mean([detectable_excess(sample.at(LEVEL), level=level) for sample in samples]))
        for name, samples in found.items()
    }


TITLES = {
    "activation": "mean (invalid activation)",
    "lift": "ratio of means (invalid lift)",
    "rate": "rate (accuracy, peak)",
    "gap": "background gap",
    "flips": "background flips",
}


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A table."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def coverage_section(found: pd.DataFrame, samples: dict[str, int]) -> str:
    """What stands between the markers of the page."""
    counts = ", ".join(f"{count} samples each for the {TITLES[name]}" for name, count in samples.items())
    below, above = int((found["covered"] < 93).sum()), int((found["covered"] > 97).sum())
    measured = textwrap.fill(
        f"Measured on simulated data: {len(found) // len(samples)} settings for each kind of interval, "
        f"{counts}; seed {SEED}. In percent; nominal is {100 * LEVEL:.0f}. Of {len(found)} settings "
        f"{len(found) - below - above} cover 93 to 97, {above} more than that, {below} less.",
        110,
    )
    by_groups, inside = [], []
    for (measure, groups), part in found.groupby(["measure", "groups"], sort=False):
        ours, naive = part["covered"], part["naive"]
        by_groups.append(
            [
                TITLES[str(measure)],
                str(groups),
                *(f"{value:.1f}" for value in (ours.min(), ours.median(), ours.max())),
                f"{(ours < 93).sum()} of {len(ours)}",
                f"{part['below'].max():.1f}",
                f"{part['above'].max():.1f}",
                *(f"{value:.0f}" for value in (naive.min(), naive.median())),
            ]
        )
    few = found[found["groups"].eq(14)]
    for (size, correlation), part in few.groupby(["size", "correlation"], sort=False):
        worst = part.groupby("measure", sort=False)[["covered", "naive"]].min()
        cells = [f"{row.covered:.0f} ({row.naive:.0f})" for row in worst.itertuples()]
        inside.append([str(size), f"{correlation:.1f}", *cells])
    low = found[found["covered"] < 93].sort_values("covered", kind="stable")
    misses = [
        [
            TITLES[row.measure],
            str(row.groups),
            row.size,
            f"{row.correlation:.1f}",
            row.shape,
            *(f"{value:.1f}" for value in (row.covered, row.below, row.above)),
        ]
        for row in low.itertuples()
    ]
    ends = ["interval", "groups", "lowest", "median", "highest", "under 93", "worst below", "worst above"]
    setting = ["interval", "groups", "images a group", "correlation", "shape", "covered", "below", "above"]
    return f"""{measured}

{markdown([*ends, "naive lowest", "naive median"], by_groups)}

*below* and *above*: the whole interval lies below or above the truth (nominal 2.5 each); a gate that wants
small values would wrongly pass or wrongly fail. *naive*: the percentile bootstrap over images, and Wilson's
interval without a design effect.

With 14 groups, the lowest of the three shapes, naive in brackets:

{markdown(["images a group", "correlation", *(TITLES[name] for name in samples)], inside)}

Settings that cover less than 93 %:

{markdown(setting, misses)}"""


def detectable_section() -> str:
    """Smallest detectable excess by number of images."""
    rows = []
    for per_group in (1, 5):
        for n in (25, 50, 100, 200, 400):
            one, ten = (detectable(n, per_group, looks) for looks in (1, 10))
            rows.append(
                [str(n), str(n // per_group)]
                + [
                    f"{100 * one[name]:.0f} ({100 * ten[name]:.0f})"
                    for name in ("activation", "accuracy", "gap")
                ]
            )
    return markdown(["images", "groups", "invalid activation", "accuracy", "background gap"], rows)


def replace_section(text: str, name: str, content: str) -> str:
    """Put content between the markers of that name."""
    begin, end = f"<!-- {name}: written by benchmarks/coverage.py -->", f"<!-- end of {name} -->"
    head, _, rest = text.partition(begin)
    _, found, tail = rest.partition(end)
    if not found:
        raise SystemExit(f"{DOCS}: no section {name!r} between its two markers")
    return f"{head}{begin}\n\n{content}\n\n{end}{tail}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the samples, printed only")
    parser.add_argument("--csv", type=Path, help="write all cells there")
    options = parser.parse_args()
    samples = {name: count // 10 if options.quick else count for name, count in SAMPLES.items()}
    rows = []
    for measure, count in samples.items():
        began = time.perf_counter()
        rows += [{"measure": measure, **vars(cell), **coverage(measure, cell, count)} for cell in cells()]
        print(f"{TITLES[measure]}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    found = pd.DataFrame(rows)
    if options.csv:
        found.to_csv(options.csv, index=False, float_format="%.5g")
    sections = {"coverage": coverage_section(found, samples), "detectable": detectable_section()}
    print("\n\n".join(sections.values()))
    if not options.quick:
        text = DOCS.read_text(encoding="utf-8")
        for name, content in sections.items():
            text = replace_section(text, name, content)
        DOCS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
