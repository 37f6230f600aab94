"""Intervals: closed forms, oracles, and coverage by a small simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from camgate.audit.intervals import clustering, correlation_inside
from camgate.audit.statistics import (
    Arm,
    detectable_excess,
    gap_estimate,
    group_codes,
    mean_estimate,
    rate_estimate,
)


def wilson(hits: int, n: int, quantile: float) -> tuple[float, float]:
    """Wilson 1927 as the roots of (p - x)^2 = q^2 x (1 - x) / n."""
    p = hits / n
    roots = np.roots([1 + quantile**2 / n, -(2 * p + quantile**2 / n), p**2])
    return float(min(roots)), float(max(roots))


def test_rate_of_independent_images_is_wilson_with_a_t_quantile() -> None:
    hits = np.array([1.0] * 30 + [0.0] * 70)
    estimate = rate_estimate(hits, np.arange(100))
    # with one image a group the design effect is n / (n - 1), i.e. practically 1
    low, high = wilson(30, 100, float(stats.t.ppf(0.975, 99)))
    assert estimate.low == pytest.approx(low, abs=2e-3)
    assert estimate.high == pytest.approx(high, abs=2e-3)
    assert (estimate.n, estimate.groups) == (100, 100)


def test_groups_that_agree_within_count_as_one_image_each() -> None:
    hits = np.repeat([1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0], 10)
    groups = np.repeat(np.arange(12), 10)
    clustered = rate_estimate(hits, groups)
    alone = rate_estimate(hits, np.arange(120))
    assert clustered.high - clustered.low > 2.5 * (alone.high - alone.low)


@given(st.integers(0, 60), st.integers(2, 20), st.floats(0.5, 0.99))
@settings(deadline=None, max_examples=60)
def test_rate_interval_holds_its_value_and_never_has_zero_width(hits: int, groups: int, level: float) -> None:
    values = np.zeros(60)
    values[:hits] = 1.0
    estimate = rate_estimate(values, np.arange(60) % groups, level=level)
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    assert estimate.high - estimate.low > 0


@given(
    st.lists(st.floats(0, 1), min_size=4, max_size=60),
    st.integers(2, 12),
    st.sampled_from([0.8, 0.95, 0.995]),
)
@settings(deadline=None, max_examples=60)
def test_mean_interval_holds_its_value_and_never_has_zero_width(
    values: list[float], groups: int, level: float
) -> None:
    data = np.array(values)
    estimate = mean_estimate(data, np.arange(len(data)) % groups, level=level, replicates=199)
    assert estimate.value == pytest.approx(data.mean())
    assert 0 <= estimate.low <= estimate.value + 1e-12
    assert estimate.value - 1e-12 <= estimate.high <= 1
    assert estimate.high - estimate.low > 0


def test_all_equal_values_keep_an_interval() -> None:
    for value in (0.0, 0.3, 1.0):
        estimate = mean_estimate(np.full(50, value), np.arange(50) % 10)
        assert estimate.high - estimate.low > 0.02


def test_one_group_allows_no_interval() -> None:
    estimate = mean_estimate(np.array([0.1, 0.2, 0.3]), np.zeros(3))
    assert (estimate.low, estimate.high, estimate.groups) == (0.0, 1.0, 1)
    assert (rate_estimate(np.ones(3), np.zeros(3)).low) == 0.0


def test_nothing_measured_is_nan_with_n_zero() -> None:
    for estimate in (mean_estimate(np.array([]), np.array([])), rate_estimate(np.array([]), np.array([]))):
        assert estimate.n == 0
        assert np.isnan(estimate.value)


def test_ratio_of_means_is_not_the_mean_of_ratios() -> None:
    values, weights = np.array([0.1, 0.9] * 20), np.array([1.0, 0.5] * 20)
    estimate = mean_estimate(values, np.arange(40), weights=weights, bounds=(0, 4))
    assert estimate.value == pytest.approx(values.sum() / weights.sum())


def test_a_higher_level_gives_a_wider_interval() -> None:
    values = np.random.default_rng(0).random(200)
    groups = np.arange(200) % 20
    widths = [
        estimate.high - estimate.low
        for estimate in (mean_estimate(values, groups, level=level) for level in (0.8, 0.95, 0.999))
    ]
    assert widths == sorted(widths)
    assert widths[0] < widths[-1]


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(0).random(60)
    assert mean_estimate(values, np.arange(60) % 9, seed=3) == mean_estimate(
        values, np.arange(60) % 9, seed=3
    )


@pytest.mark.parametrize(("groups", "size"), [(14, 10), (30, 5)])
def test_mean_interval_covers_where_images_of_a_group_are_alike(groups: int, size: int) -> None:
    rng = np.random.default_rng(5)
    covered = naive = 0
    runs = 300
    for _ in range(runs):
        centre = np.clip(0.3 + 0.15 * rng.standard_normal(groups), 0, 1)
        values = np.clip(np.repeat(centre, size) + 0.05 * rng.standard_normal(groups * size), 0, 1)
        estimate = mean_estimate(values, np.repeat(np.arange(groups), size), replicates=399)
        truth = 0.3  # clipping at 0 and 1 moves it by less than 0.003
        covered += estimate.low <= truth <= estimate.high
        half = 1.96 * values.std() / np.sqrt(len(values))
        naive += abs(values.mean() - truth) <= half
    assert covered / runs > 0.91
    assert naive / runs < 0.75  # the test has teeth: ignoring groups fails


def test_rate_interval_covers_where_images_of_a_group_are_alike() -> None:
    rng = np.random.default_rng(6)
    covered = 0
    runs, groups, size = 400, 14, 10
    for _ in range(runs):
        rates = rng.beta(2, 6, groups)
        hits = rng.random(groups * size) < np.repeat(rates, size)
        estimate = rate_estimate(hits, np.repeat(np.arange(groups), size))
        covered += estimate.low <= 0.25 <= estimate.high
    assert covered / runs > 0.91


def _arms(
    rng: np.random.Generator, same: float, other: float, images: int = 120, groups: int = 12
) -> tuple[Arm, Arm]:
    recipient = np.repeat(np.arange(images) % groups, 3)
    donor = rng.integers(0, groups, 3 * images)
    return (
        Arm((rng.random(3 * images) < same).astype(float), recipient, donor),
        Arm((rng.random(3 * images) < other).astype(float), recipient, donor),
    )


def test_gap_is_the_difference_of_the_arms_and_finds_a_large_one() -> None:
    rng = np.random.default_rng(0)
    same, other = _arms(rng, 0.98, 0.5)
    estimate = gap_estimate(same, other, images=120)
    assert estimate.value == pytest.approx(same.outcome.mean() - other.outcome.mean())
    assert estimate.low > 0.3
    assert (estimate.n, estimate.groups) == (120, 12)


def test_no_gap_stays_below_a_margin_but_never_has_zero_width() -> None:
    rng = np.random.default_rng(0)
    same, _ = _arms(rng, 1.0, 1.0)
    estimate = gap_estimate(same, same, images=120)
    assert estimate.value == 0.0
    assert -0.1 < estimate.low < 0 < estimate.high < 0.1


def test_a_single_odd_donor_widens_the_gap_interval() -> None:
    recipient = np.repeat(np.arange(12), 30)
    donor = np.tile(np.arange(12), 30)
    good = Arm(np.ones(360), recipient, donor)
    # the same share of failures, once all from one donor group and once spread over all
    odd = Arm(np.where(donor == 3, 0.0, 1.0), recipient, donor)
    spread = np.ones(360)
    spread[np.random.default_rng(0).permutation(360)[:30]] = 0.0
    even = Arm(spread, recipient, donor)
    by_one, by_all = (gap_estimate(good, arm, images=360) for arm in (odd, even))
    assert by_one.value == pytest.approx(by_all.value)
    assert by_one.high - by_one.low > 2 * (by_all.high - by_all.low)


def test_gap_of_one_group_or_of_nothing_is_not_measured() -> None:
    arm = Arm(np.ones(5), np.zeros(5, dtype=int), np.zeros(5, dtype=int))
    assert (gap_estimate(arm, arm, images=5).low, gap_estimate(arm, arm, images=5).high) == (-1.0, 1.0)
    empty = Arm(np.array([]), np.array([], dtype=int), np.array([], dtype=int))
    assert gap_estimate(empty, empty, images=0).n == 0


def test_detectable_excess_shrinks_with_n() -> None:
    rng = np.random.default_rng(0)
    few, many = (mean_estimate(rng.random(n), np.arange(n)) for n in (40, 640))
    assert detectable_excess(many) < 0.4 * detectable_excess(few)
    assert np.isnan(detectable_excess(mean_estimate(np.array([0.1]), np.array(["a"]))))


@pytest.mark.parametrize("groups", [2, 5, 40])
def test_groups_of_one_size_have_one_degree_less(groups: int) -> None:
    for shared in (0.0, 0.4, 1.0):
        worth = clustering(np.full(groups, 7), shared)
        assert worth.scale == pytest.approx(groups / (groups - 1))
        assert worth.degrees == pytest.approx(groups - 1)


@given(st.lists(st.integers(1, 60), min_size=2, max_size=12), st.floats(0, 1))
@settings(deadline=None, max_examples=60)
def test_uneven_groups_are_worth_what_the_matrices_say(sizes: list[int], shared: float) -> None:
    """Oracle: the covariance of the residuals written out, Satterthwaite 1946 on its eigenvalues."""
    n = np.array(sizes, dtype=float)
    made = np.eye(len(n)) - np.outer(n / n.sum(), np.ones(len(n)))
    variance = n * (1 + (n - 1) * shared)
    values = np.linalg.eigvalsh(made @ np.diag(variance) @ made.T)
    worth = clustering(n, shared)
    assert worth.scale == pytest.approx(variance.sum() / values.sum())
    assert worth.degrees == pytest.approx(values.sum() ** 2 / (values**2).sum())


def test_correlation_inside_groups() -> None:
    sizes = np.array([2, 2, 2])
    assert correlation_inside(sizes, np.array([2.0, -2.0, 0.0]), 6.0) == pytest.approx(2 / 6)
    assert correlation_inside(sizes, np.zeros(3), 6.0) == 0
    assert correlation_inside(np.ones(3), np.array([1.0, -1.0, 0.0]), 2.0) == 0


def test_uneven_groups_give_wider_intervals_than_even_ones() -> None:
    rng = np.random.default_rng(0)
    even, uneven = np.repeat(np.arange(10), 12), np.repeat(np.arange(10), [57, *[7] * 9])
    wider = 0
    for _ in range(20):
        shares = rng.beta(2, 2, 10)
        a, b = (mean_estimate(shares[codes], codes) for codes in (even, uneven))
        wider += b.high - b.low > a.high - a.low
    assert wider >= 18


def test_no_miss_in_few_groups_is_less_than_no_miss_in_as_many_images() -> None:
    """The prior of `PRIOR_CORRELATION`: 140 right in 14 groups are worth 140 / 3.25 images."""
    estimate = rate_estimate(np.ones(140), np.repeat(np.arange(14), 10))
    square = float(stats.t.ppf(0.975, 13)) ** 2
    assert estimate.low == pytest.approx(1 - square / (140 / 3.25 + square))
    alone = rate_estimate(np.ones(140), np.arange(140))
    assert alone.low == pytest.approx(wilson(140, 140, float(stats.t.ppf(0.975, 139)))[0])


def test_two_way_variance_of_composites_without_groups_in_effect() -> None:
    """Independent outcomes: the interval is that of two independent rates, not 1.7 times as wide."""
    rng = np.random.default_rng(1)
    widths = []
    for _ in range(20):
        estimate = gap_estimate(*_arms(rng, 0.9, 0.6, images=400, groups=40), images=400)
        widths.append(estimate.high - estimate.low)
    expected = 2 * stats.t.ppf(0.975, 39) * np.sqrt((0.09 + 0.24) / 1200)
    assert np.mean(widths) == pytest.approx(expected, rel=0.2)


def test_group_codes_tell_names_apart() -> None:
    codes, count = group_codes(np.array(["b", "a", "b", "c"]))
    assert count == 3
    assert codes[0] == codes[2]
    assert len({codes[0], codes[1], codes[3]}) == 3
