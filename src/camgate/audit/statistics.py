"""Estimates with intervals for images that come in groups: pure functions on arrays.

Images of one group (same scene, same patient, same two seconds of video) are not independent; every
interval here takes the group as the unit. The level is two-sided: 0.95 leaves 2.5 % on each side.

References: Wilson 1927 for a rate, with the effective sample size n / deff (Kish 1965) and a t quantile
on groups - 1 (Korn & Graubard 1998); bootstrap-t over groups (Efron & Tibshirani 1993, ch. 12) for a
mean; the two-way "pigeonhole" bootstrap (Owen 2007) for composites, whose recipients and donors both
come in groups.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

REPLICATES = 1999
_CHUNK = 250
"""Replicates resampled at once; bounds the memory."""


@dataclass(frozen=True)
class Estimate:
    """A value with its two-sided interval.

    Attributes:
        value: point estimate; NaN where nothing was measured.
        low, high: bounds at `level`.
        n: images it rests on.
        groups: independent groups among them.
        level: nominal coverage.
    """

    value: float
    low: float
    high: float
    n: int
    groups: int
    level: float = 0.95

    @property
    def standard_error(self) -> float:
        """Standard error read off the half-width, NaN where there is no interval."""
        quantile = stats.t.ppf(0.5 + self.level / 2, max(self.groups - 1, 1))
        return float((self.high - self.low) / (2 * quantile))


def _empty(level: float) -> Estimate:
    return Estimate(np.nan, np.nan, np.nan, 0, 0, level)


def group_codes(groups: np.ndarray) -> tuple[np.ndarray, int]:
    """Integer code of each row's group and the number of groups."""
    names, codes = np.unique(np.asarray(groups).astype(str), return_inverse=True)
    return codes, len(names)


def _wilson(rate: float, n: float, quantile: float) -> tuple[float, float]:
    centre = (rate + quantile**2 / (2 * n)) / (1 + quantile**2 / n)
    half = quantile / (1 + quantile**2 / n) * np.sqrt(rate * (1 - rate) / n + quantile**2 / (4 * n**2))
    return float(max(0.0, centre - half)), float(min(1.0, centre + half))


def rate_estimate(hits: np.ndarray, groups: np.ndarray, *, level: float = 0.95) -> Estimate:
    """Share of hits: Wilson's interval with n / deff and a t quantile on groups - 1.

    Args:
        hits: float or bool `(n,)`, 0..1 each (ties of the pointing game may lie between).
        groups: `(n,)`, the group of each row.
        level: two-sided coverage.

    Returns:
        The estimate; bounds are 0 and 1 where fewer than two groups allow none, and the width is never 0.
    """
    hits = np.asarray(hits, dtype=np.float64)
    if not len(hits):
        return _empty(level)
    codes, count = group_codes(groups)
    n, rate = len(hits), float(hits.mean())
    if count < 2:
        return Estimate(rate, 0.0, 1.0, n, count, level)
    quantile = float(stats.t.ppf(0.5 + level / 2, count - 1))
    low, high = _wilson(rate, n / _design_effect(hits, codes, count), quantile)
    return Estimate(rate, min(low, rate), max(high, rate), n, count, level)


def _design_effect(values: np.ndarray, codes: np.ndarray, count: int) -> float:
    """Kish's deff: variance of the mean with groups over that without; at least 1, at most n / groups.

    Where all values agree it cannot be estimated and 1 is taken.
    """
    n, mean = len(values), values.mean()
    plain = mean * (1 - mean) / n
    if plain <= 0:
        return 1.0
    residuals = np.bincount(codes, weights=values - mean, minlength=count)
    clustered = count / (count - 1) * float((residuals**2).sum()) / n**2
    return float(max(clustered / plain, 1.0))


def mean_estimate(
    values: np.ndarray,
    groups: np.ndarray,
    *,
    weights: np.ndarray | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
    level: float = 0.95,
    seed: int = 0,
    replicates: int = REPLICATES,
) -> Estimate:
    """Mean, or ratio of means, by bootstrap-t over groups.

    With `weights` w the estimate is sum(values) / sum(w), e.g. invalid activation over invalid area.

    Args:
        values: float `(n,)`, finite.
        groups: `(n,)`.
        weights: denominators `(n,)`, >= 0; ones where None.
        bounds: possible range of the estimate; the interval is cut to it.
        level: two-sided coverage.
        seed: of the bootstrap.
        replicates: bootstrap samples of groups.

    Returns:
        The estimate. Where all groups agree (no variance to resample) the interval allows for the share
        of images that this n could have missed, so its width is never 0.
    """
    values = np.asarray(values, dtype=np.float64)
    if not len(values):
        return _empty(level)
    weights = np.ones_like(values) if weights is None else np.asarray(weights, dtype=np.float64)
    codes, count = group_codes(groups)
    top = np.bincount(codes, weights=values, minlength=count)
    bottom = np.bincount(codes, weights=weights, minlength=count)
    if bottom.sum() <= 0:
        return _empty(level)
    value = float(top.sum() / bottom.sum())
    if count < 2:
        return Estimate(value, bounds[0], bounds[1], len(values), count, level)
    error = _ratio_error(top, bottom, value)
    span = bounds[1] - bounds[0]
    if error <= 1e-9 * span:
        low, high = _degenerate(value, len(values), count, bounds, level)
        return Estimate(value, low, high, len(values), count, level)
    # A group that weighs nothing at all can make a resample empty; multinomial counts avoid index copies.
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(count, np.full(count, 1 / count), size=replicates).astype(np.float64)
    tops, bottoms = draws @ top, draws @ bottom
    with np.errstate(divide="ignore", invalid="ignore"):
        means = tops / bottoms
        residuals = top[None, :] - means[:, None] * bottom[None, :]
        errors = np.sqrt(count / (count - 1) * (draws * residuals**2).sum(axis=1)) / bottoms
        pivots = (means - value) / errors
    pivots = pivots[np.isfinite(pivots)]
    tail = (1 - level) / 2
    reach = float(stats.t.ppf(1 - tail, count - 1))
    if len(pivots) < replicates / 2:
        below = above = reach
    else:
        above, below = (float(q) for q in np.quantile(pivots, [1 - tail, tail]))
        below = -below
    # Few groups make the studentised tails wild; they are held between the normal and 3 t quantiles.
    floor = float(stats.norm.ppf(1 - tail))
    above, below = (float(np.clip(q, floor, 3 * reach)) for q in (above, below))
    low = max(bounds[0], value - above * error)
    high = min(bounds[1], value + below * error)
    return Estimate(value, low, high, len(values), count, level)


def _ratio_error(top: np.ndarray, bottom: np.ndarray, value: float) -> float:
    """Standard error of sum(top) / sum(bottom) over groups (linearised)."""
    count = len(top)
    residuals = top - value * bottom
    return float(np.sqrt(count / (count - 1) * (residuals**2).sum()) / bottom.sum())


def _degenerate(
    value: float, n: int, groups: int, bounds: tuple[float, float], level: float
) -> tuple[float, float]:
    """Interval where no variance was seen: a share of images that none of n showed may differ at will.

    That share is at most Wilson's upper bound for 0 of n.
    """
    unseen = _wilson(0.0, n, float(stats.t.ppf(0.5 + level / 2, groups - 1)))[1]
    return value - unseen * (value - bounds[0]), value + unseen * (bounds[1] - value)


@dataclass(frozen=True)
class Arm:
    """Composites of one arm, one row per recipient and draw.

    Attributes:
        outcome: float `(n,)`, 1 where the label was predicted (or a probability).
        recipient: int `(n,)`, code of the recipient's group.
        donor: int `(n,)`, code of the donor's group, in the same coding.
    """

    outcome: np.ndarray
    recipient: np.ndarray
    donor: np.ndarray


def gap_estimate(
    same: Arm, other: Arm, *, images: int, level: float = 0.95, seed: int = 0, replicates: int = REPLICATES
) -> Estimate:
    """Mean outcome of the same-class arm minus that of the other-class arm (background gap, Xiao 2020).

    Recipient groups and donor groups are resampled at once: a composite weighs the product of its
    recipient's and its donor's multiplicity, so a single odd donor cannot pass for evidence.

    Args:
        same: the same-class arm.
        other: the other-class arm.
        images: number of distinct recipients.
        level: two-sided coverage.
        seed: of the bootstrap.
        replicates: bootstrap samples.

    Returns:
        Estimate in -1..1 with percentile bounds, widened to what a Wilson interval of the rate of
        discordant recipients allows where hardly any outcome differs, so its width is never 0.
    """
    if not len(same.outcome) or not len(other.outcome):
        return _empty(level)
    value = float(same.outcome.mean() - other.outcome.mean())
    recipients = np.unique(np.concatenate([same.recipient, other.recipient]))
    groups = len(recipients)
    if groups < 2:
        return Estimate(value, -1.0, 1.0, images, groups, level)
    donors = np.unique(np.concatenate([same.donor, other.donor]))
    rng = np.random.default_rng(seed)
    gaps = np.full(replicates, np.nan)
    for start in range(0, replicates, _CHUNK):
        chunk = min(_CHUNK, replicates - start)
        weights = [
            rng.multinomial(len(codes), np.full(len(codes), 1 / len(codes)), size=chunk).astype(np.float64)
            for codes in (recipients, donors)
        ]
        means = []
        for arm in (same, other):
            weight = weights[0][:, np.searchsorted(recipients, arm.recipient)]
            weight *= weights[1][:, np.searchsorted(donors, arm.donor)]
            with np.errstate(divide="ignore", invalid="ignore"):
                means.append(weight @ arm.outcome / weight.sum(axis=1))
        gaps[start : start + chunk] = means[0] - means[1]
    tail = (1 - level) / 2
    low, high = (float(q) for q in np.nanquantile(gaps, [tail, 1 - tail]))
    # The percentile bootstrap over few groups is too narrow; widen to the t quantile about the value.
    stretch = float(stats.t.ppf(1 - tail, groups - 1) / stats.norm.ppf(1 - tail))
    low, high = value - (value - low) * stretch, value + (high - value) * stretch
    slack = _wilson(0.0, images, float(stats.t.ppf(1 - tail, groups - 1)))[1]
    low, high = min(low, value - slack), max(high, value + slack)
    return Estimate(value, max(-1.0, low), min(1.0, high), images, groups, level)


def detectable_excess(estimate: Estimate, *, power: float = 0.8) -> float:
    """Smallest true excess over a limit that this sample would show as FAIL with the given power.

    (t quantile + normal quantile of the power) times the standard error; NaN where there is no interval.
    """
    if not estimate.n or estimate.groups < 2:
        return float("nan")
    quantile = stats.t.ppf(0.5 + estimate.level / 2, estimate.groups - 1) + stats.norm.ppf(power)
    return float(quantile * estimate.standard_error)
