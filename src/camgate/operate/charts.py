"""Control charts for numbers that each come with their own interval: pure functions.

An audit's share or gap is known with an uncertainty that its images and groups give, and it is another one
each time. So the limits are not a fixed band, as on a plain individuals chart, but move with it:

* noise of audit i: s_i = the longer side of its 95 % interval / 1.96 (few groups: wider by their t quantile);
* baseline: the first k audits; centre m = their mean weighted by 1 / (s_i^2 + b^2), where b^2 is the variance
  between audits beyond their noise (DerSimonian & Laird 1986), as on Laney's p' chart (Laney 2002);
* Shewhart limit of audit i: m + L sqrt(s_i^2 + b^2 + v), v being the variance of m;
* EWMA (Roberts 1959; NIST/SEMATECH e-Handbook 6.3.2.4): E_i = w x_i + (1 - w) E_{i-1} from E_k = m on, its
  limit m + L times its own standard deviation, the uncertainty of m included.

Larger is worse, so there are upper limits only. L is the t quantile for `false_alarms`, the chance of any
alarm at one audit that is in control, shared out over all charts and both rules (Bonferroni). Its degrees of
freedom are Satterthwaite's (1946): of a variance, the part from b^2 has k - 1 and the part from the
intervals counts as known, so that L is the normal quantile where the baseline varies by no more than its
noise. What rate comes of it is measured by `benchmarks/control_charts.py` and told in
`docs/how-to/monitoring.md`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from camgate.audit.resampling import normal_quantile, t_quantile

State = Literal["baseline", "in_control", "beyond_limit", "drift"]


class ChartOptions(BaseModel):
    """How control charts are drawn.

    Attributes:
        baseline: audits that the limits are made of; no alarm before they are there.
        false_alarms: chance of any alarm at one audit in control, over all charts together.
        weight: of the newest audit in the moving average, 0..1; smaller finds smaller drifts, later.
        most_classes: with more classes only the whole is charted.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    baseline: int = Field(default=5, ge=2)
    false_alarms: float = Field(default=0.0027, gt=0, lt=0.5)
    weight: float = Field(default=0.3, gt=0, le=1)
    most_classes: int = Field(default=20, ge=0)


class Reading(BaseModel):
    """One number of one audit, with its 95 % interval."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: float
    low: float
    high: float
    n: int
    groups: int

    @property
    def noise(self) -> float:
        """Standard error read off the longer side of the interval, never 0."""
        return max(self.value - self.low, self.high - self.value, 1e-9) / normal_quantile(0.025)


@dataclass(frozen=True)
class Charted:
    """A reading on its chart.

    Attributes:
        reading: the number.
        centre: of the baseline; NaN while it is being made.
        limit: of this audit alone; NaN while there is none.
        average, average_limit: the moving average and its limit.
        state: `beyond_limit` and `drift` (of the average) are alarms.
    """

    reading: Reading
    centre: float
    limit: float
    average: float
    average_limit: float
    state: State

    @property
    def alarm(self) -> bool:
        """Whether this audit is out of control."""
        return self.state in {"beyond_limit", "drift"}


def control_chart(
    readings: Sequence[Reading], options: ChartOptions | None = None, *, charts: int = 1
) -> list[Charted]:
    """Judge a series of readings, the oldest first.

    Args:
        readings: of one measure in one part of the data.
        options: None takes the defaults.
        charts: that are watched together, for the share of false alarms.
    """
    options = options or ChartOptions()
    k = options.baseline
    nothing = float("nan")
    learnt = [Charted(each, nothing, nothing, nothing, nothing, "baseline") for each in readings[:k]]
    if len(readings) <= k:
        return learnt
    centre, uncertainty, between = baseline_of(readings[:k])
    tail, keep = options.false_alarms / (2 * charts), 1 - options.weight
    average, spread, squares, forgotten = centre, 0.0, 0.0, 1.0
    for each in readings[k:]:
        own = each.noise**2 + between
        limit = centre + _reach(own + uncertainty, between * (1 + 1 / k), k, tail)
        average = options.weight * each.value + keep * average
        spread = options.weight**2 * own + keep**2 * spread
        squares = options.weight**2 + keep**2 * squares  # of the audits' shares in the average
        forgotten *= keep
        variance = spread + (1 - forgotten) ** 2 * uncertainty
        share = between * (squares + (1 - forgotten) ** 2 / k)
        average_limit = centre + _reach(variance, share, k, tail)
        state: State = "in_control"
        if each.value > limit:
            state = "beyond_limit"
        elif average > average_limit:
            state = "drift"
        learnt.append(Charted(each, centre, limit, average, average_limit, state))
    return learnt


def _reach(variance: float, between: float, k: int, tail: float) -> float:
    """L times the standard deviation; `between` is the part of the variance that k audits have shown."""
    if between <= 0:
        return normal_quantile(tail) * math.sqrt(variance)
    degrees = (k - 1) * (variance / min(between, variance)) ** 2
    return t_quantile(tail, degrees) * math.sqrt(variance)


def baseline_of(readings: Sequence[Reading]) -> tuple[float, float, float]:
    """Weighted mean, its variance, and the variance between readings beyond their noise.

    DerSimonian & Laird 1986, by the method of moments: b^2 = max(0, (Q - (k - 1)) / (S1 - S2 / S1)), with
    weights 1 / s_i^2, their sums S1 and (squared) S2, and Q the weighted sum of squares about the mean.
    """
    values = np.array([each.value for each in readings])
    weights = np.array([each.noise for each in readings]) ** -2.0
    mean = float((weights * values).sum() / weights.sum())
    excess = float((weights * (values - mean) ** 2).sum()) - (len(values) - 1)
    scale = float(weights.sum() - (weights**2).sum() / weights.sum())
    between = max(0.0, excess / scale) if scale > 0 else 0.0
    weights = 1 / (1 / weights + between)
    return float((weights * values).sum() / weights.sum()), float(1 / weights.sum()), between
