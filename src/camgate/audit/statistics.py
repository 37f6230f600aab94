"""Estimates with intervals for images that come in groups: pure functions on arrays.

Images of one group (same scene, same patient, same two seconds of video) are not independent; every
interval here takes the group as the unit. The level is two-sided: 0.95 leaves 2.5 % on each side.

A *sample* (`rate_sample`, `mean_sample`, `gap_sample`) holds what a part of the data gives, and an interval
at any level is read off it: the level corrected for a thousand looks costs no second bootstrap.

Groups of unequal size give a variance fewer degrees of freedom than groups - 1, and a smaller one than is
true; both are made good under a working model (Satterthwaite 1946; Bell & McCaffrey 2002). What coverage that
leaves is measured by `benchmarks/coverage.py` and printed in `docs/statistics.md`.

Far out (`FAR_TAIL`: ten looks and more) neither Wilson's approximation nor 1,999 resamples reach. There a
rate's interval is the wider of Wilson's and the exact one (Clopper & Pearson 1934) with the same effective
sample size (Korn & Graubard 1998); bootstrap bounds are read where five resamples lie beyond them and
carried on outwards along the t quantiles, their skewness with them. They are never inside the t interval,
and far out a mean's never inside the exact interval of a rate with the same value and standard error, which
knows that nothing lies beyond the ends of the scale. What remains optimistic is the lower bound of a class
whose values crowd at the upper end of the scale with rare low ones (mean 0.9: ten times the error said).

References: Wilson 1927 for a rate, with the effective sample size n / deff (Kish 1965) and a t quantile
(Korn & Graubard 1998); bootstrap-t over groups (Efron & Tibshirani 1993, ch. 12) for a mean; the two-way
"pigeonhole" bootstrap (Owen 2007) with the two-way variance (Cameron, Gelbach & Miller 2011) for composites,
whose recipients and donors both come in groups.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from camgate.audit.gaps import Arm, GapSample, contrast_sample, gap_estimate, gap_sample
from camgate.audit.intervals import (
    Estimate,
    Sample,
    clustering,
    correlation_inside,
    detectable_excess,
    group_codes,
    unknown,
    wilson,
)
from camgate.audit.resampling import FAR_TAIL, REPLICATES, normal_quantile, resampled_sums, t_quantile

__all__ = [
    "Arm",
    "Estimate",
    "GapSample",
    "MeanSample",
    "RateSample",
    "Sample",
    "contrast_sample",
    "detectable_excess",
    "gap_estimate",
    "gap_sample",
    "group_codes",
    "mean_estimate",
    "mean_sample",
    "rate_estimate",
    "rate_sample",
]


PRIOR_CORRELATION = 0.25
"""Correlation of images inside a group that is taken where the hits are too few to show one."""


def _exact(rate: float, n: float, tail: float) -> tuple[float, float]:
    """Clopper & Pearson 1934, for any n > 0."""
    hits, misses = rate * n, (1 - rate) * n
    low = special.betaincinv(hits, misses + 1, tail) if hits > 0 else 0.0
    high = special.betaincinv(hits + 1, misses, 1 - tail) if misses > 0 else 1.0
    return float(low), float(high)


@dataclass(frozen=True)
class RateSample:
    """A share of hits.

    Attributes:
        value: point estimate.
        n, groups: what it rests on.
        effective: number of independent images that n are worth.
        degrees: of freedom of the design effect; groups - 1 where the groups have one size.
    """

    value: float
    n: int
    groups: int
    effective: float
    degrees: float

    def at(self, level: float) -> Estimate:
        """Wilson's interval with n / deff and a t quantile, far out at least the exact one."""
        if self.groups < 2:
            return Estimate(self.value, *unknown(self.n, (0.0, 1.0)), self.n, self.groups, level)
        tail = (1 - level) / 2
        quantile = t_quantile(tail, self.degrees)
        low, high = wilson(self.value, self.effective, quantile)
        if tail < FAR_TAIL:
            worth = self.effective * (t_quantile(tail, self.n - 1) / quantile) ** 2
            exact = _exact(self.value, worth, tail)
            low, high = min(low, exact[0]), max(high, exact[1])
        return Estimate(self.value, min(low, self.value), max(high, self.value), self.n, self.groups, level)


def rate_sample(hits: np.ndarray, groups: np.ndarray) -> RateSample:
    """Prepare `rate_estimate`."""
    hits = np.asarray(hits, dtype=np.float64)
    if not len(hits):
        return RateSample(np.nan, 0, 0, 0.0, 0.0)
    codes, count = group_codes(groups)
    if count < 2:
        return RateSample(float(hits.mean()), len(hits), count, 1.0, 0.0)
    design_effect, degrees = _design_effect(hits, codes)
    return RateSample(float(hits.mean()), len(hits), count, len(hits) / design_effect, degrees)


def rate_estimate(hits: np.ndarray, groups: np.ndarray, *, level: float = 0.95) -> Estimate:
    """Share of hits: Wilson's interval with n / deff and a t quantile.

    Args:
        hits: float or bool `(n,)`, 0..1 each (ties of the pointing game may lie between).
        groups: `(n,)`, the group of each row.
        level: two-sided coverage.

    Returns:
        The estimate; bounds are 0 and 1 where fewer than two groups allow none, and the width is never 0.
    """
    return rate_sample(hits, groups).at(level)


def _design_effect(hits: np.ndarray, codes: np.ndarray) -> tuple[float, float]:
    """Kish's deff: variance of the rate with groups over that without, at least 1; and its degrees.

    A handful of hits, or none, tells nothing about how alike a group's images are, yet it is where most is
    claimed (an accuracy of 1.00). So one hit's worth of `PRIOR_CORRELATION` is added to what was seen.
    """
    n, mean = len(hits), float(hits.mean())
    sizes = np.bincount(codes).astype(np.float64)
    plain = n * mean * (1 - mean)
    residuals = np.bincount(codes, weights=hits - mean)
    squares = float((residuals**2).sum())
    prior = _alike(sizes, PRIOR_CORRELATION)
    seen = (squares * len(sizes) / (len(sizes) - 1) + prior) / (plain + 1)
    whole = _alike(sizes, 1.0)
    worth = clustering(sizes, min(max((seen - 1) / (whole - 1), 0.0), 1.0) if whole > 1 else 0.0)
    return max((worth.scale * squares + prior) / (plain + 1), 1.0), worth.degrees


def _alike(sizes: np.ndarray, correlation: float) -> float:
    """The design effect of this correlation inside groups of these sizes (Kish 1965)."""
    return float(1 + ((sizes**2).sum() / sizes.sum() - 1) * correlation)


@dataclass(frozen=True, eq=False)
class MeanSample:
    """A mean or a ratio of means.

    Attributes:
        value: point estimate.
        n, groups: what it rests on.
        bounds: possible range.
        error: standard error over groups; 0 where no variance was seen.
        degrees: of freedom of that error; groups - 1 where the groups have one size.
        pivots: studentised deviations of the bootstrap samples, too few where hardly any varied.
        replicates: samples that were drawn.
    """

    value: float
    n: int
    groups: int
    bounds: tuple[float, float]
    error: float
    degrees: float
    pivots: np.ndarray
    replicates: int

    def at(self, level: float) -> Estimate:
        """The bootstrap-t interval, cut to the possible range."""
        if self.groups < 2:
            return Estimate(self.value, *unknown(self.n, self.bounds), self.n, self.groups, level)
        tail = (1 - level) / 2
        if self.error == 0:
            low, high = _degenerate(self.value, self.n, t_quantile(tail, self.degrees), self.bounds)
            return Estimate(self.value, low, high, self.n, self.groups, level)
        depth = max(tail, FAR_TAIL)
        reach = t_quantile(tail, self.degrees)
        below = above = reach
        if len(self.pivots) >= self.replicates / 2:
            upper, lower = (float(q) for q in np.quantile(self.pivots, [1 - depth, depth]))
            above, below = upper, -lower
            if tail < depth:
                # Skewness moves a studentised quantile away from t by the square of the quantile
                # (Cornish & Fisher; Hall 1992), so the ratio to t goes on in a straight line from 1.
                read = t_quantile(depth, self.degrees)
                above, below = (reach * (1 + (q / read - 1) * reach / read) for q in (above, below))
            # Few groups make the studentised tails wild; they are held between 1 and 3 t quantiles.
            above, below = (float(np.clip(q, reach, 3 * reach)) for q in (above, below))
        low = max(self.bounds[0], self.value - above * self.error)
        high = min(self.bounds[1], self.value + below * self.error)
        if tail < FAR_TAIL:
            # The rate of that standard error (Korn & Graubard 1998, for any variable on a bounded scale).
            bottom, span = self.bounds[0], self.bounds[1] - self.bounds[0]
            share = (self.value - bottom) / span
            worth = share * (1 - share) * (span / self.error) ** 2
            exact = _exact(share, worth * (normal_quantile(tail) / reach) ** 2, tail)
            low, high = min(low, bottom + span * exact[0]), max(high, bottom + span * exact[1])
        return Estimate(self.value, low, high, self.n, self.groups, level)


def mean_sample(
    values: np.ndarray,
    groups: np.ndarray,
    *,
    weights: np.ndarray | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
    seed: int = 0,
    replicates: int = REPLICATES,
) -> MeanSample:
    """Prepare `mean_estimate`: resample the groups."""
    values = np.asarray(values, dtype=np.float64)
    weights = np.ones_like(values) if weights is None else np.asarray(weights, dtype=np.float64)
    codes, count = group_codes(groups)
    top = np.bincount(codes, weights=values, minlength=count)
    bottom = np.bincount(codes, weights=weights, minlength=count)
    if bottom.sum() <= 0:
        return MeanSample(np.nan, 0, 0, bounds, 0.0, 0.0, np.empty(0), replicates)
    value = float(top.sum() / bottom.sum())
    if count < 2:
        return MeanSample(value, len(values), count, bounds, 0.0, 0.0, np.empty(0), replicates)
    sizes = np.bincount(codes, minlength=count).astype(np.float64)
    residual = top - value * bottom
    inside = correlation_inside(sizes, residual, float(((values - value * weights) ** 2).sum()))
    worth = clustering(sizes, inside)
    error = float(np.sqrt(worth.scale * (residual**2).sum()) / bottom.sum())  # linearised
    pivots = np.empty(0)
    if error <= 1e-9 * (bounds[1] - bounds[0]):
        error = 0.0
    else:
        pivots = _pivots(residual, bottom, worth.scale, seed=seed, replicates=replicates)
    return MeanSample(value, len(values), count, bounds, error, worth.degrees, pivots, replicates)


def _pivots(
    residual: np.ndarray, bottom: np.ndarray, scale: float, *, seed: int, replicates: int
) -> np.ndarray:
    """Studentised deviations of the bootstrap samples of groups, as many as are finite."""
    # All that a studentised ratio needs are sums over the sample, with residuals about the value so that
    # nothing cancels. A group that weighs nothing at all can make a sample empty: its pivot is not finite.
    columns = np.stack([residual, bottom, residual**2, residual * bottom, bottom**2], axis=1)
    sums = resampled_sums(columns, seed=seed, replicates=replicates)
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = sums[:, 0] / sums[:, 1]
        squares = sums[:, 2] - 2 * shift * sums[:, 3] + shift**2 * sums[:, 4]
        squares = np.where(squares > 1e-12 * sums[:, 2], squares, 0.0)  # one group alone has no variance
        pivots = shift / (np.sqrt(scale * squares) / sums[:, 1])
    return np.asarray(pivots[np.isfinite(pivots)])


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
    return mean_sample(values, groups, weights=weights, bounds=bounds, seed=seed, replicates=replicates).at(
        level
    )


def _degenerate(value: float, n: int, quantile: float, bounds: tuple[float, float]) -> tuple[float, float]:
    """Interval where no variance was seen: a share of images that none of n showed may differ at will.

    That share is at most Wilson's upper bound for 0 of n.
    """
    unseen = wilson(0.0, n, quantile)[1]
    return value - unseen * (value - bounds[0]), value + unseen * (bounds[1] - value)
