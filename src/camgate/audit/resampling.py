"""Bootstrap samples of groups, and quantiles for the bounds that are read off them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from scipy import special

REPLICATES = 1999
FAR_TAIL = 0.0025
"""Tail on one side beyond which `REPLICATES` samples hold fewer than five, too few to read a quantile off.

With 95 % intervals that is ten looks and more. Farther bounds are carried on by t quantiles from here.
"""

_KEPT = 250
"""Groups up to which the samples are kept for the next class of that many groups (uint8, 0.5 MB)."""
_BINOMIAL = 2000
"""Groups beyond which counting random draws is faster than numpy's multinomial."""
_CELLS = 2_000_000
"""Counts held at once; bounds the memory."""


def t_quantile(tail: float, degrees: float) -> float:
    """Student's t quantile that leaves `tail` above it."""
    return float(special.stdtrit(degrees, 1 - tail))


def normal_quantile(tail: float) -> float:
    """Normal quantile that leaves `tail` above it."""
    return float(special.ndtri(1 - tail))


def group_counts(rng: np.random.Generator, count: int, size: int) -> np.ndarray:
    """How often each of `count` groups is in a sample of `count` groups; int `(size, count)`."""
    if count <= _BINOMIAL:
        return rng.multinomial(count, np.full(count, 1 / count), size=size)
    return np.stack(
        [np.bincount(rng.integers(0, count, count, dtype=np.int32), minlength=count) for _ in range(size)]
    )


@lru_cache(maxsize=64)
def _kept_counts(count: int, size: int, seed: int) -> np.ndarray:
    return group_counts(np.random.default_rng(seed), count, size).astype(np.uint8)


def group_samples(count: int, step: int, *, seed: int, replicates: int) -> Iterator[np.ndarray]:
    """Bootstrap samples of groups, `step` of them at once; int `(step, count)`, the last one shorter.

    The samples follow from seed and number of groups alone, so that the classes of an audit share them.
    """
    starts = range(0, replicates, step)
    if count <= _KEPT:
        kept = _kept_counts(count, replicates, seed)
        yield from (kept[start : start + step] for start in starts)
        return
    rng = np.random.default_rng(seed)
    yield from (group_counts(rng, count, min(step, replicates - start)) for start in starts)


def resampled_sums(columns: np.ndarray, *, seed: int, replicates: int) -> np.ndarray:
    """Sums over bootstrap samples of groups.

    Args:
        columns: float `(groups, k)`, what is summed.
        seed: of the samples.
        replicates: number of samples.

    Returns:
        float `(replicates, k)`.
    """
    count = len(columns)
    samples = group_samples(count, max(1, _CELLS // count), seed=seed, replicates=replicates)
    return np.concatenate([counts.astype(np.float64) @ columns for counts in samples])
