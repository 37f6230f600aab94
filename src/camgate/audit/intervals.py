"""What an estimate is, and the pieces that every kind of interval is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from camgate.audit.resampling import normal_quantile, t_quantile


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
        quantile = t_quantile((1 - self.level) / 2, max(self.groups - 1, 1))
        return float((self.high - self.low) / (2 * quantile))


class Sample(Protocol):
    """A part of the data, of which an interval at any level can be had."""

    def at(self, level: float) -> Estimate:
        """The estimate with its interval of this two-sided coverage."""
        ...


def group_codes(groups: np.ndarray) -> tuple[np.ndarray, int]:
    """Integer code of each row's group and the number of groups. Codes handed in are coded by number."""
    groups = np.asarray(groups)
    names, codes = np.unique(groups if groups.dtype.kind in "iu" else groups.astype(str), return_inverse=True)
    return codes, len(names)


@dataclass(frozen=True)
class Clustering:
    """How far groups of unequal size, alike inside, are from as many independent values.

    With sizes all the same these are groups / (groups - 1) and groups - 1.

    Attributes:
        scale: by which the squared sums of residuals over groups fall short of their variance.
        degrees: of freedom of a variance made of them (Satterthwaite 1946), at least 1.
    """

    scale: float
    degrees: float


def clustering(sizes: np.ndarray, shared: float) -> Clustering:
    """What a variance made of the groups' residuals is worth (Bell & McCaffrey 2002, for a mean).

    Args:
        sizes: images of each group `(groups,)`, at least two groups.
        shared: correlation inside a group, 0..1, that the working model takes: a group of n images varies as
            n (1 + (n - 1) shared).
    """
    sizes = np.asarray(sizes, dtype=np.float64)
    variance = sizes * (1 + (sizes - 1) * shared)
    leverage = sizes / sizes.sum()
    # The residuals' covariance is diag(variance) - leverage x pull - pull x leverage.
    pull = variance - variance.sum() * leverage / 2
    seen = float((variance - 2 * leverage * pull).sum())
    squares = float(
        (variance**2).sum()
        - 4 * (variance * leverage * pull).sum()
        + 2 * ((leverage * pull).sum() ** 2 + (leverage**2).sum() * (pull**2).sum())
    )
    return Clustering(float(variance.sum()) / seen, max(seen**2 / squares, 1.0))


def correlation_inside(sizes: np.ndarray, residuals: np.ndarray, squares: float) -> float:
    """Mean product of two residuals of one group over their mean square, 0..1.

    Args:
        sizes: values of each group `(groups,)`.
        residuals: their sums `(groups,)`.
        squares: sum of the squares of all values' residuals.
    """
    sizes = np.asarray(sizes, dtype=np.float64)
    pairs = float((sizes * (sizes - 1)).sum())
    if not pairs or squares <= 0:
        return 0.0
    products = float((residuals**2).sum()) - squares
    return float(np.clip(products / pairs / (squares / sizes.sum()), 0, 1))


def wilson(rate: float, n: float, quantile: float) -> tuple[float, float]:
    """Wilson 1927: bounds of a rate that rests on n independent images."""
    centre = (rate + quantile**2 / (2 * n)) / (1 + quantile**2 / n)
    half = quantile / (1 + quantile**2 / n) * np.sqrt(rate * (1 - rate) / n + quantile**2 / (4 * n**2))
    return float(max(0.0, centre - half)), float(min(1.0, centre + half))


def unknown(n: int, bounds: tuple[float, float]) -> tuple[float, float]:
    """Bounds where fewer than two groups allow none: the whole range, NaN where nothing was measured."""
    return bounds if n else (np.nan, np.nan)


def detectable_excess(estimate: Estimate, *, level: float | None = None, power: float = 0.8) -> float:
    """Smallest true excess over a limit that this sample would show as FAIL with the given power.

    (t quantile + normal quantile of the power) times the standard error; NaN where there is no interval.

    Args:
        estimate: gives the standard error.
        level: two-sided level of the bound that a FAIL rests on; None takes the estimate's own.
        power: probability of showing it.
    """
    if not estimate.n or estimate.groups < 2:
        return float("nan")
    tail = (1 - (estimate.level if level is None else level)) / 2
    quantile = t_quantile(tail, estimate.groups - 1) + normal_quantile(1 - power)
    return quantile * estimate.standard_error
