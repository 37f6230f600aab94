"""Bounds corrected for a thousand looks: honest where a bootstrap of 1,999 samples cannot see any more."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from audits_by_hand import make_large_audit
from camgate.audit.gaps import GapSample
from camgate.audit.intervals import wilson
from camgate.audit.resampling import FAR_TAIL, group_counts, resampled_sums
from camgate.audit.statistics import Arm, Estimate, MeanSample, gap_sample, mean_sample, rate_sample
from camgate.gate.judge import judge
from camgate.gate.verdict import Status

LOOKS = 1000
LEVEL = 1 - 0.05 / LOOKS
TAIL = 0.025 / LOOKS


@pytest.mark.parametrize("truth", [0.5, 0.85, 0.95, 0.99])
@pytest.mark.parametrize("n", [20, 50, 200])
def test_a_rate_at_its_floor_fails_less_often_than_said(n: int, truth: float) -> None:
    """Not simulated: the probability of every count of hits is known."""
    chances = stats.binom.pmf(np.arange(n + 1), n, truth)
    false = sum(
        chance
        for hits, chance in enumerate(chances)
        if rate_sample(np.arange(n) < hits, np.arange(n)).at(LEVEL).high < truth
    )
    assert false <= TAIL


def test_wilsons_interval_alone_would_not_do() -> None:
    chances = stats.binom.pmf(np.arange(51), 50, 0.99)
    quantile = stats.t.ppf(1 - TAIL, 49)
    false = sum(chance for hits, chance in enumerate(chances) if wilson(hits / 50, 50, quantile)[1] < 0.99)
    assert false > 20 * TAIL


def read_off(sample: MeanSample) -> Estimate:
    """The plain bootstrap-t: the quantile of 1,999 pivots, which ends at the largest of them."""
    above = float(np.quantile(sample.pivots, 1 - TAIL))
    reach = stats.t.ppf(1 - TAIL, sample.groups - 1)
    above = float(np.clip(above, stats.norm.ppf(1 - TAIL), 3 * reach))
    return Estimate(sample.value, sample.value - above * sample.error, 1.0, sample.n, sample.groups)


@pytest.mark.parametrize(
    ("groups", "size", "shape", "naive_fails"),
    [(4, 12, (2, 3), True), (10, 5, (2, 3), False), (50, 1, (8, 2), False), (50, 1, (0.07, 0.03), False)],
)
def test_means_at_their_limit_hardly_ever_fail_in_a_thousand_classes(
    groups: int, size: int, shape: tuple[float, float], naive_fails: bool
) -> None:
    rng = np.random.default_rng(1)
    truth, families = shape[0] / sum(shape), 4
    false = naive = 0
    for _ in range(families * LOOKS):
        sample = mean_sample(np.repeat(rng.beta(*shape, groups), size), np.repeat(np.arange(groups), size))
        false += sample.at(LEVEL).low > truth
        naive += read_off(sample).low > truth
    assert false <= 1  # 0.1 expected
    assert (naive > 8) is naive_fails


def null_gap(rng: np.random.Generator, groups: int, per_group: int) -> GapSample:
    """A background gap of exactly 0.1, with groups that differ in how hard they are."""
    recipient = np.repeat(np.arange(groups * per_group) % groups, 3)
    ease = np.clip(rng.normal(0, 0.05, groups), -0.1, 0.1)[recipient]
    arms = [
        Arm(
            (rng.random(len(recipient)) < rate + ease).astype(float),
            recipient,
            rng.integers(0, groups, len(recipient)),
        )
        for rate in (0.85, 0.75)
    ]
    return gap_sample(*arms, images=groups * per_group)


@pytest.mark.parametrize(
    "count", [pytest.param(300, id="few"), pytest.param(8000, id="many", marks=pytest.mark.long)]
)
def test_gaps_at_their_limit_hardly_ever_fail_in_a_thousand_classes(count: int) -> None:
    rng = np.random.default_rng(2)
    samples = (null_gap(rng, 6, 6) for _ in range(count))
    assert sum(sample.at(LEVEL).low > 0.1 for sample in samples) <= 1 + count // 4000


@pytest.mark.parametrize("kind", ["rate", "mean", "gap"])
def test_more_looks_never_give_a_narrower_interval(kind: str) -> None:
    rng = np.random.default_rng(3)
    values, groups = rng.beta(8, 2, 200), np.arange(200) % 20
    make: dict[str, Callable[[], MeanSample | GapSample | object]] = {
        "rate": lambda: rate_sample(values > 0.8, groups),
        "mean": lambda: mean_sample(values, groups),
        "gap": lambda: null_gap(rng, 12, 10),
    }
    sample = make[kind]()
    found = [sample.at(1 - 0.05 / looks) for looks in (1, 2, 5, 9, 10, 11, 30, 100, 1000, 10_000)]  # type: ignore[attr-defined]
    assert all(a.low >= b.low and a.high <= b.high for a, b in pairwise(found))
    assert 0.025 / 10 <= FAR_TAIL < 0.025 / 9  # ten looks are the first that are carried on


def test_ten_thousand_looks_still_decide_what_is_plain() -> None:
    values = np.random.default_rng(0).normal(0.5, 0.1, 500)
    assert mean_sample(values, np.arange(500)).at(1 - 0.05 / 10_000).low > 0.45


@pytest.mark.parametrize("count", [30, 400, 2500])
def test_resampled_sums_are_those_of_whole_samples_of_groups(count: int) -> None:
    sums = resampled_sums(np.stack([np.ones(count), np.arange(count)], axis=1), seed=5, replicates=400)
    assert (sums[:, 0] == count).all()
    mean, spread = (count - 1) / 2, np.sqrt((count**2 - 1) / 12 / count)
    assert sums[:, 1].mean() / count == pytest.approx(mean, abs=5 * spread / 20)
    assert sums[:, 1].std() / count == pytest.approx(spread, rel=0.15)
    counts = group_counts(np.random.default_rng(0), count, 200)
    assert counts.var() == pytest.approx(1 - 1 / count, rel=0.05)


def families(count: int, *, classes: int, rows: int) -> int:
    """How many audits fail in some class, where every class lies on the limit of every check."""
    failed = 0
    for seed in range(count):
        result = make_large_audit(
            classes, rows, activation=0.3, spread=0.08, accuracy=0.95, recipients=1, seed=seed
        )
        policy = {
            "checks": {
                "accuracy": {"min": 0.95},
                "invalid_activation": {"max": 0.3},
                "invalid_lift": {"max": 0.6},
            }
        }
        parts = [part for check in judge(result, policy).checks for part in check.parts]
        assert len(parts) == 3 * classes
        failed += any(part.status is Status.FAIL for part in parts)
    return failed


def test_classes_on_the_limit_do_not_fail_together() -> None:
    assert families(4, classes=250, rows=10_000) <= 1


@pytest.mark.long
def test_a_thousand_classes_on_the_limit_do_not_fail_together() -> None:
    assert families(20, classes=1000, rows=50_000) <= 4  # 5 % of each of three checks at most
