"""Intervals of the background gap: composites whose recipients and donors both come in groups.

The two-way "pigeonhole" bootstrap (Owen 2007) gives the shape; it counts what is by chance in a single
composite up to three times (Owen 2007, theorem 3), so its width is set to the two-way variance (Cameron,
Gelbach & Miller 2011). How far out the bounds can be read: see
`camgate.audit.statistics`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from camgate.audit.intervals import Estimate, clustering, correlation_inside, unknown, wilson
from camgate.audit.resampling import FAR_TAIL, REPLICATES, group_samples, normal_quantile, t_quantile

_CHUNK = 250
"""Replicates resampled at once; bounds the memory."""
_CROWDED = 0.1
"""Share of pairs of groups that occur beyond which full tables are faster."""


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
    """A difference of two arms.

    Attributes:
        value: point estimate.
        n, groups: recipients that it rests on.
        error: two-way standard error.
        degrees: of freedom of that error.
        gaps: of the bootstrap samples, float `(replicates,)`.
        bounds: possible range.
    """

    value: float
    n: int
    groups: int
    error: float
    degrees: float
    gaps: np.ndarray
    bounds: tuple[float, float] = (-1.0, 1.0)

    def at(self, level: float) -> Estimate:
        """Percentiles scaled to the standard error, never inside the t interval nor of zero width."""
        if self.groups < 2:
            return Estimate(self.value, *unknown(self.n, self.bounds), self.n, self.groups, level)
        tail = (1 - level) / 2
        depth = max(tail, FAR_TAIL)
        reach = t_quantile(tail, self.degrees)
        spread = float(np.nanstd(self.gaps))
        below = above = 0.0
        if spread > 0:
            low, high = (float(q) for q in np.nanquantile(self.gaps, [depth, 1 - depth]))
            stretch = reach / normal_quantile(depth) * self.error / spread
            below, above = (self.value - low) * stretch, (high - self.value) * stretch
        # Where hardly any outcome differs: the rate of differing recipients that this n could have missed.
        least = max(reach * self.error, wilson(0.0, self.n, t_quantile(tail, self.groups - 1))[1])
        low = max(self.bounds[0], self.value - max(below, least))
        high = min(self.bounds[1], self.value + max(above, least))
        return Estimate(self.value, low, high, self.n, self.groups, level)


def gap_sample(
    same: Arm, other: Arm, *, images: int, seed: int = 0, replicates: int = REPLICATES
) -> GapSample:
    """Prepare `gap_estimate`: resample recipient groups and donor groups."""
    return contrast_sample(((same, 1), (other, -1)), images=images, seed=seed, replicates=replicates)


def contrast_sample(
    arms: Sequence[tuple[Arm, int]], *, images: int, seed: int = 0, replicates: int = REPLICATES
) -> GapSample:
    """A sum of the arms' mean outcomes, each with its sign; a gap is one arm less another.

    Args:
        arms: each with 1 or -1, as many of these as of those.
        images: number of distinct recipients.
        seed: of the bootstrap.
        replicates: bootstrap samples.
    """
    nothing, reach = np.empty(0), len(arms) / 2
    bounds = -reach, reach
    if not all(len(arm.outcome) for arm, _ in arms):
        return GapSample(np.nan, 0, 0, 0.0, 0.0, nothing, bounds)
    value = float(sum(sign * arm.outcome.mean() for arm, sign in arms))
    recipients = np.unique(np.concatenate([arm.recipient for arm, _ in arms]))
    if len(recipients) < 2:
        return GapSample(value, images, len(recipients), 0.0, 0.0, nothing, bounds)
    donors = np.unique(np.concatenate([arm.donor for arm, _ in arms]))
    sums, influence = [], sparse.csr_array((len(donors), len(recipients)))
    sizes, squares = np.zeros(len(recipients)), 0.0
    for arm, sign in arms:
        place = np.searchsorted(donors, arm.donor), np.searchsorted(recipients, arm.recipient)
        shape = len(donors), len(recipients)
        residual = sign * (arm.outcome - arm.outcome.mean()) / len(arm.outcome)
        outcomes, ones, pulls = (
            sparse.coo_array((x, place), shape=shape).tocsr()
            for x in (arm.outcome, np.ones(len(arm.outcome)), residual)
        )
        crowded = ones.nnz > _CROWDED * len(donors) * len(recipients)
        sums.append([table.toarray() if crowded else table for table in (outcomes, ones)])
        influence = influence + pulls
        sizes += np.bincount(place[1], minlength=len(recipients))
        squares += float((residual**2).sum())
    error, degrees = _two_way(influence, sizes, squares)
    chunks = []
    for by_recipient, by_donor in zip(
        group_samples(len(recipients), _CHUNK, seed=seed, replicates=replicates),
        group_samples(len(donors), _CHUNK, seed=seed + 1, replicates=replicates),
        strict=True,
    ):
        rows, columns = by_recipient.T.astype(np.float64), by_donor.T.astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            means = [np.divide(*((columns * (table @ rows)).sum(axis=0) for table in arm)) for arm in sums]
        chunks.append(sum(sign * mean for mean, (_, sign) in zip(means, arms, strict=True)))
    gaps = np.concatenate(chunks)
    return GapSample(value, images, len(recipients), error, degrees, gaps, bounds)


def _two_way(influence: sparse.csr_array, sizes: np.ndarray, squares: float) -> tuple[float, float]:
    """Standard error with groups on both sides, and its degrees of freedom.

    Args:
        influence: what each (donor group, recipient group) adds to the gap's deviation.
        sizes: composites of each recipient group.
        squares: sum of the squared influences of single composites.
    """
    by_recipient = influence.sum(axis=0)
    worth = clustering(sizes, correlation_inside(sizes, by_recipient, squares))
    return with_donors(worth.scale * float((by_recipient**2).sum()), worth.degrees, influence)


def with_donors(variance: float, degrees: float, influence: sparse.csr_array) -> tuple[float, float]:
    """Standard error and degrees of freedom once the donors' groups count as well as the recipients'.

    Args:
        variance: with groups of recipients alone.
        degrees: of freedom of that.
        influence: what each (donor group, recipient group) adds to the estimate's deviation, in full for each
            donor where a comparison has two.
    """
    by_donor = influence.sum(axis=1)
    count = len(by_donor)
    if count < 2:
        return float(np.sqrt(variance)), degrees
    donor = count / (count - 1) * float((by_donor**2).sum())
    # What is in both sums is taken off once; with few groups the difference can fall below either.
    both = variance + donor - float((influence.data**2).sum())
    return float(np.sqrt(max(variance, donor, both))), min(degrees, count - 1.0)


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
        Estimate in -1..1 with bootstrap bounds, widened to what a Wilson interval of the rate of
        discordant recipients allows where hardly any outcome differs, so its width is never 0.
    """
    return gap_sample(same, other, images=images, seed=seed, replicates=replicates).at(level)
