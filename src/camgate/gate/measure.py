"""How a check is made: registered by name, its estimate held against a limit, part by part.

A smaller-is-better check PASSes when the interval's upper bound is at or below the limit, FAILs when
its lower bound is above it, and is INCONCLUSIVE between; mirrored for larger-is-better. Over classes
and slices a FAIL rests on bounds corrected for the number of looks (Bonferroni); a PASS needs the
pooled bound and the uncorrected one of each critical class. A class or slice so small that its corrected
bound would not show even the worst value is marked `too_small`: there only the pooled value decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from camgate.audit import summary
from camgate.audit.result import AuditResult
from camgate.audit.statistics import Estimate, Sample, detectable_excess
from camgate.errors import some_of
from camgate.gate.verdict import CheckResult, Finding, Status, worst_first

if TYPE_CHECKING:
    from camgate.gate.policy import Policy

LEVEL = 0.95

Measure = Callable[[summary.Rows | None], Sample | None]
"""From the rows of a part of the data (None: all) to what an interval at any level is read off."""


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AtMost(_Options):
    """Options of a smaller-is-better check."""

    max: float


class AtLeast(_Options):
    """Options of a larger-is-better check."""

    min: float = Field(ge=0, le=1)


@dataclass(frozen=True)
class NoRival:
    """Stands for the champion's audit where there is none, and says why.

    Attributes:
        reason: `no_champion`, or `is_champion` where the audited model holds the alias itself: the comparison
            is left out and the absolute limits decide alone. `not_audited`: there is a champion, but no audit
            of it on these images, which is an ERROR.
        message: why, as a clause.
    """

    reason: Literal["no_champion", "is_champion", "not_audited"]
    message: str


@dataclass(frozen=True)
class Context:
    """What a check may look at."""

    result: AuditResult
    policy: Policy
    champion: AuditResult | NoRival | None = None

    @cached_property
    def measures(self) -> summary.Measures:
        """The scores as arrays, made once for all checks."""
        return summary.Measures(self.result)


Evidence = Literal["heatmap", "behaviour"]


@dataclass(frozen=True)
class Check:
    """A registered check: its options, the function that answers, and what its answer rests on."""

    name: str
    options: type[BaseModel]
    run: Callable[..., CheckResult]
    evidence: Evidence


CHECKS: dict[str, Check] = {}


def check(
    name: str, options: type[BaseModel], evidence: Evidence = "behaviour"
) -> Callable[[Callable[..., CheckResult]], Callable[..., CheckResult]]:
    """Register a check under a name; the function takes (context, options).

    A check whose `evidence` is the heatmap decides nothing where the explainer is not sane.
    """

    def register(run: Callable[..., CheckResult]) -> Callable[..., CheckResult]:
        CHECKS[name] = Check(name, options, run, evidence)
        return run

    return register


def decide(estimate: Estimate, limit: float, *, smaller: bool) -> tuple[Status, str]:
    """Hold an interval against a limit."""
    if not estimate.n or not math.isfinite(estimate.value):
        return Status.INCONCLUSIVE, "not_measured"
    good = estimate.high <= limit if smaller else estimate.low >= limit
    bad = estimate.low > limit if smaller else estimate.high < limit
    if good:
        return Status.PASS, "ok"
    if bad:
        return Status.FAIL, "above_limit" if smaller else "below_limit"
    return Status.INCONCLUSIVE, "straddles_limit"


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _finding(
    part: str, sample: Sample, corrected_level: float, limit: float, smaller: bool
) -> Finding | None:
    plain, corrected = sample.at(LEVEL), sample.at(corrected_level)
    if not plain.n:
        return None
    status, reason = decide(plain, limit, smaller=smaller)
    if status is Status.FAIL and decide(corrected, limit, smaller=smaller)[0] is not Status.FAIL:
        status, reason = Status.INCONCLUSIVE, "straddles_limit"
    return Finding(
        part=part,
        value=_number(plain.value),
        low=_number(plain.low),
        high=_number(plain.high),
        low_corrected=_number(corrected.low),
        high_corrected=_number(corrected.high),
        n=plain.n,
        groups=plain.groups,
        status=status,
        reason=reason,
        detectable=_number(detectable_excess(plain, level=corrected_level)),
    )


def _too_small(plain: Estimate, corrected_level: float, limit: float, smaller: bool) -> bool:
    """Whether the corrected bound of so few images or groups would hardly show even the worst value.

    Of a share or a gap that is 1, of accuracy 0; a lift of 1 is blind. Beyond such limits nothing is worst.
    """
    room = 1 - limit if smaller else limit
    excess = detectable_excess(plain, level=corrected_level)
    return math.isnan(excess) or 0 < room < excess


def judge_measure(
    context: Context,
    name: str,
    measure: Measure,
    limit: float,
    *,
    smaller: bool,
    message: Callable[[Estimate], str],
    skip: tuple[str, ...] = (),
    worst: tuple[str, ...] = (),
) -> CheckResult:
    """The pooled estimate, then each class and slice, joined by the rules above."""
    policy = context.policy
    everything = measure(None)
    pooled = None if everything is None else everything.at(LEVEL)
    if pooled is None or not pooled.n:
        return CheckResult(
            name=name,
            status=Status.INCONCLUSIVE,
            reason="not_measured",
            message=f"{name} could not be measured: no image gave a number",
            limit=limit,
            smaller_is_better=smaller,
        )
    rows_of = {
        part: rows for part, rows in summary.parts(context.result).items() if part not in skip and len(rows)
    }
    corrected_level = 1 - (1 - LEVEL) / max(len(rows_of), 1)
    findings = []
    for part, rows in rows_of.items():
        sample = measure(rows)
        finding = None if sample is None else _finding(part, sample, corrected_level, limit, smaller)
        if sample is not None and finding is not None:
            small = _too_small(sample.at(LEVEL), corrected_level, limit, smaller)
            if finding.reason == "straddles_limit" and small:
                finding = finding.model_copy(update={"reason": "too_small"})
            findings.append(finding)
    status, reason = decide(pooled, limit, smaller=smaller)
    note = ""
    failing = [f.part for f in worst_first(findings, smaller=smaller) if f.status is Status.FAIL]
    if pooled.n < policy.audit.min_images:
        status, reason = Status.INCONCLUSIVE, "too_few_images"
        note = f"; only {pooled.n} images, the policy asks for {policy.audit.min_images}"
    elif pooled.groups < policy.audit.min_groups:
        status, reason = Status.INCONCLUSIVE, "too_few_groups"
        note = f"; only {pooled.groups} independent groups, the policy asks for {policy.audit.min_groups}"
    elif failing:
        if status is not Status.FAIL:
            note = f"; it fails in {some_of(failing, 3)}"
        status, reason = Status.FAIL, "above_limit" if smaller else "below_limit"
    elif status is Status.PASS:
        named, _ = policy.critical_among(context.result.classes)
        critical = {f"class {label}" for label in named} - set(skip)
        passed = {finding.part for finding in findings if finding.status is Status.PASS}
        if critical - passed:
            status, reason = Status.INCONCLUSIVE, "critical_class"
            note = f"; not shown for critical {some_of(sorted(critical - passed))}"
    return CheckResult(
        name=name,
        status=status,
        reason=reason,
        message=message(pooled) + note,
        value=_number(pooled.value),
        low=_number(pooled.low),
        high=_number(pooled.high),
        limit=limit,
        n=pooled.n,
        groups=pooled.groups,
        smaller_is_better=smaller,
        parts=tuple(findings),
        worst=worst,
    )


def percent(value: float) -> str:
    """A share in words: `42 %`."""
    return f"{100 * value:.0f} %" if abs(value) >= 0.1 or value == 0 else f"{100 * value:.1f} %"


def span(estimate: Estimate, scale: float, digits: int) -> str:
    """The interval in words: `0.31 to 0.35`."""
    return f"{scale * estimate.low:.{digits}f} to {scale * estimate.high:.{digits}f}"
