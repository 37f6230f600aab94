"""Intervals of the background gap: composites whose recipients and donors both come in groups.

The two-way "pigeonhole" bootstrap (Owen 2007). How far out the bounds can be read: see
`camgate.audit.statistics`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from camgate.audit.intervals import Estimate, unknown, wilson
from camgate.audit.resampling import FAR_TAIL, REPLICATES, group_counts, normal_quantile, t_quantile

_CHUNK = 250
"""Replicates resampled at once; bounds the memory."""


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


@dataclass(frozen=True, eq=False)
class GapSample:
    """A difference of two arms. `gaps` are those of the bootstrap samples, float `(replicates,)`."""

    value: float
    n: int
    groups: int
    gaps: np.ndarray

    def at(self, level: float) -> Estimate:
        """Percentile bounds, widened where few groups or hardly any discordant outcome make them narrow."""
        if self.groups < 2:
            return Estimate(self.value, *unknown(self.n, (-1.0, 1.0)), self.n, self.groups, level)
        tail = (1 - level) / 2
        depth = max(tail, FAR_TAIL)
        low, high = (float(q) for q in np.nanquantile(self.gaps, [depth, 1 - depth]))
        # The percentile bootstrap over few groups is too narrow; widen to the t quantile about the value.
        reach = t_quantile(tail, self.groups - 1)
        stretch = reach / normal_quantile(depth)
        low, high = self.value - (self.value - low) * stretch, self.value + (high - self.value) * stretch
        slack = wilson(0.0, self.n, reach)[1]
        low, high = max(-1.0, min(low, self.value - slack)), min(1.0, max(high, self.value + slack))
        return Estimate(self.value, low, high, self.n, self.groups, level)


def gap_sample(
    same: Arm, other: Arm, *, images: int, seed: int = 0, replicates: int = REPLICATES
) -> GapSample:
    """Prepare `gap_estimate`: resample recipient groups and donor groups."""
    nothing = np.empty(0)
    if not len(same.outcome) or not len(other.outcome):
        return GapSample(np.nan, 0, 0, nothing)
    value = float(same.outcome.mean() - other.outcome.mean())
    recipients = np.unique(np.concatenate([same.recipient, other.recipient]))
    if len(recipients) < 2:
        return GapSample(value, images, len(recipients), nothing)
    donors = np.unique(np.concatenate([same.donor, other.donor]))
    sums = []  # of each arm: outcomes and composites by (donor group, recipient group)
    for arm in (same, other):
        place = np.searchsorted(donors, arm.donor), np.searchsorted(recipients, arm.recipient)
        shape = len(donors), len(recipients)
        ones = np.ones(len(arm.outcome))
        sums.append([sparse.coo_array((x, place), shape=shape).tocsr() for x in (arm.outcome, ones)])
    rng = np.random.default_rng(seed)
    gaps = np.full(replicates, np.nan)
    for start in range(0, replicates, _CHUNK):
        chunk = min(_CHUNK, replicates - start)
        by_recipient, by_donor = (
            group_counts(rng, len(codes), chunk).T.astype(np.float64) for codes in (recipients, donors)
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            means = [
                np.divide(*((by_donor * (table @ by_recipient)).sum(axis=0) for table in arm)) for arm in sums
            ]
        gaps[start : start + chunk] = means[0] - means[1]
    return GapSample(value, images, len(recipients), gaps)


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
    return gap_sample(same, other, images=images, seed=seed, replicates=replicates).at(level)
