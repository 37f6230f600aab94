"""The checks, looked up by name. Each turns an audit into one `CheckResult`; none touches a file.

A smaller-is-better check PASSes when the interval's upper bound is at or below the limit, FAILs when
its lower bound is above it, and is INCONCLUSIVE between; mirrored for larger-is-better. Over classes
and slices a FAIL rests on bounds corrected for the number of looks (Bonferroni); a PASS needs the
pooled bound and the uncorrected one of each critical class.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from camgate.audit import summary
from camgate.audit.result import AuditResult
from camgate.audit.statistics import Estimate, detectable_excess, mean_estimate
from camgate.gate.verdict import CheckResult, Finding, Status

if TYPE_CHECKING:
    from camgate.gate.policy import Policy

LEVEL = 0.95
WORST = 10

Measure = Callable[[pd.Series | None, float], Estimate | None]


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AtMost(_Options):
    """Options of a smaller-is-better check."""

    max: float


class AtLeast(_Options):
    """Options of a larger-is-better check."""

    min: float = Field(ge=0, le=1)


class GapOptions(AtMost):
    """Options of `background_gap`."""

    max_composite_damage: float = Field(default=0.15, ge=0, le=1)
    """Accuracy that compositing itself may cost before the check is INCONCLUSIVE."""
    strongly_negative: float = Field(default=-0.10, ge=-1, le=0)
    """A gap below this is INCONCLUSIVE: the data hold a cue against the class that was not learnt."""


@dataclass(frozen=True)
class Context:
    """What a check may look at."""

    result: AuditResult
    policy: Policy
    champion: AuditResult | None = None


@dataclass(frozen=True)
class Check:
    """A registered check: its options and the function that answers."""

    name: str
    options: type[BaseModel]
    run: Callable[..., CheckResult]


CHECKS: dict[str, Check] = {}


def check(
    name: str, options: type[BaseModel]
) -> Callable[[Callable[..., CheckResult]], Callable[..., CheckResult]]:
    """Register a check under a name; the function takes (context, options)."""

    def register(run: Callable[..., CheckResult]) -> Callable[..., CheckResult]:
        CHECKS[name] = Check(name, options, run)
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


def _finding(part: str, plain: Estimate, corrected: Estimate, limit: float, smaller: bool) -> Finding:
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
        detectable=_number(detectable_excess(plain)),
    )


def _judge_measure(
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
    pooled = measure(None, LEVEL)
    if pooled is None or not pooled.n:
        return CheckResult(
            name=name,
            status=Status.INCONCLUSIVE,
            reason="not_measured",
            message=f"{name} could not be measured: no image gave a number",
            limit=limit,
            smaller_is_better=smaller,
        )
    masks = {
        part: rows for part, rows in summary.parts(context.result).items() if part not in skip and rows.any()
    }
    corrected_level = 1 - (1 - LEVEL) / max(len(masks), 1)
    findings = []
    for part, rows in masks.items():
        plain, corrected = measure(rows, LEVEL), measure(rows, corrected_level)
        if plain is not None and corrected is not None and plain.n:
            findings.append(_finding(part, plain, corrected, limit, smaller))
    status, reason = decide(pooled, limit, smaller=smaller)
    note = ""
    failing = [finding.part for finding in findings if finding.status is Status.FAIL]
    if pooled.n < policy.audit.min_images:
        status, reason = Status.INCONCLUSIVE, "too_few_images"
        note = f"; only {pooled.n} images, the policy asks for {policy.audit.min_images}"
    elif pooled.groups < policy.audit.min_groups:
        status, reason = Status.INCONCLUSIVE, "too_few_groups"
        note = f"; only {pooled.groups} independent groups, the policy asks for {policy.audit.min_groups}"
    elif failing:
        if status is not Status.FAIL:
            note = f"; it fails in {', '.join(failing[:3])}"
        status, reason = Status.FAIL, "above_limit" if smaller else "below_limit"
    elif status is Status.PASS:
        critical = {f"class {label}" for label in policy.critical_classes} - set(skip)
        passed = {finding.part for finding in findings if finding.status is Status.PASS}
        if critical - passed:
            status, reason = Status.INCONCLUSIVE, "critical_class"
            note = f"; not shown for critical {', '.join(sorted(critical - passed))}"
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


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %" if abs(value) >= 0.1 or value == 0 else f"{100 * value:.1f} %"


def _span(estimate: Estimate, scale: float, digits: int) -> str:
    return f"{scale * estimate.low:.{digits}f} to {scale * estimate.high:.{digits}f}"


def _region_free(context: Context) -> tuple[str, ...]:
    return tuple(f"class {label}" for label in context.result.region_free)


def _worst_by(result: AuditResult, column: str) -> tuple[str, ...]:
    scored = result.scores[result.scores["status"].eq("ok")]
    ranked = scored.sort_values(column, ascending=False, kind="stable")
    return tuple(ranked["image_id"].astype(str).head(WORST))


@check("accuracy", AtLeast)
def accuracy(context: Context, options: AtLeast) -> CheckResult:
    """Accuracy on the audited images, overall and per class: a floor."""
    scores = context.result.scores
    wrong = scores[scores["predicted"].ne(scores["label"]) & scores["status"].ne("unreadable")]
    return _judge_measure(
        context,
        "accuracy",
        lambda rows, level: summary.accuracy(context.result, rows, level=level),
        options.min,
        smaller=False,
        message=lambda e: (
            f"accuracy is {100 * e.value:.1f} % (95 % interval {_span(e, 100, 1)} %, "
            f"floor {_percent(options.min)})"
        ),
        worst=tuple(wrong.sort_values("confidence", ascending=False)["image_id"].astype(str).head(WORST)),
    )


@check("invalid_activation", AtMost)
def invalid_activation(context: Context, options: AtMost) -> CheckResult:
    """Mean share of positive heatmap mass (label's class) on invalid pixels."""
    return _judge_measure(
        context,
        "invalid_activation",
        lambda rows, level: summary.activation(context.result, rows, level=level),
        options.max,
        smaller=True,
        message=lambda e: (
            f"{_percent(e.value)} of the positive heatmap mass lies outside the object "
            f"(95 % interval {_span(e, 100, 0)} %, limit {_percent(options.max)})"
        ),
        skip=_region_free(context),
        worst=_worst_by(context.result, "invalid_activation_label"),
    )


@check("invalid_lift", AtMost)
def invalid_lift(context: Context, options: AtMost) -> CheckResult:
    """Invalid activation over what a uniform map would score: travels between networks better than mass."""
    mass = summary.activation(context.result)

    def message(e: Estimate) -> str:
        return (
            f"{_percent(mass.value)} of the positive heatmap mass lies outside the object, {e.value:.2f} of "
            f"what a map that ignores the object would put there (95 % interval {_span(e, 1, 2)}, "
            f"limit {options.max:.2f})"
        )

    return _judge_measure(
        context,
        "invalid_lift",
        lambda rows, level: summary.lift(context.result, rows, level=level),
        options.max,
        smaller=True,
        message=message,
        skip=_region_free(context),
        worst=_worst_by(context.result, "invalid_activation_label"),
    )


@check("peak_invalid", AtMost)
def peak_invalid(context: Context, options: AtMost) -> CheckResult:
    """Share of maps that peak on invalid pixels (pointing game). A localiser, blind to global bias."""
    return _judge_measure(
        context,
        "peak_invalid",
        lambda rows, level: summary.peak_rate(context.result, rows, level=level),
        options.max,
        smaller=True,
        message=lambda e: (
            f"{_percent(e.value)} of the heatmaps peak outside the object "
            f"(95 % interval {_span(e, 100, 0)} %, limit {_percent(options.max)})"
        ),
        skip=_region_free(context),
        worst=_worst_by(context.result, "peak_invalid"),
    )


@check("background_gap", GapOptions)
def background_gap(context: Context, options: GapOptions) -> CheckResult:
    """Accuracy lost when the background comes from another class instead of the same one."""
    result = context.result
    untested = context.policy.region_free.rule == "none"
    bare = result.scores["label"].isin(result.region_free)

    def gap(rows: pd.Series | None, level: float) -> summary.Gap | None:
        if untested:
            rows = ~bare if rows is None else rows & ~bare
        return summary.background_gap(result, rows, level=level)

    def measure(rows: pd.Series | None, level: float) -> Estimate | None:
        found = gap(rows, level)
        return None if found is None else found.estimate

    def message(e: Estimate) -> str:
        moved = (
            f"accuracy falls by {100 * e.value:.0f} points" if e.value >= 0.005 else "accuracy does not fall"
        )
        return (
            f"{moved} when the background comes from another class (95 % interval {_span(e, 100, 0)} points, "
            f"limit {100 * options.max:.0f})"
        )

    pooled = gap(None, LEVEL)
    if pooled is None:
        return CheckResult(
            name="background_gap",
            status=Status.INCONCLUSIVE,
            reason="no_interventions",
            message="the audit was made without interventions, or no image had a donor outside its group",
            limit=options.max,
        )
    outcome = _judge_measure(
        context,
        "background_gap",
        measure,
        options.max,
        smaller=True,
        message=message,
        skip=_region_free(context) if untested else (),
        worst=_flipped(result),
    )
    if pooled.damage > options.max_composite_damage:
        return outcome.model_copy(
            update={
                "status": Status.INCONCLUSIVE,
                "reason": "composite_damage",
                "message": (
                    f"compositing itself costs {100 * pooled.damage:.0f} points of accuracy (allowed "
                    f"{100 * options.max_composite_damage:.0f}), so swapped backgrounds say nothing here"
                ),
            }
        )
    if outcome.high is not None and outcome.high < options.strongly_negative:
        return outcome.model_copy(
            update={
                "status": Status.INCONCLUSIVE,
                "reason": "strongly_negative_gap",
                "message": (
                    f"accuracy is {-100 * pooled.estimate.value:.0f} points higher on backgrounds of another "
                    "class: the audit data hold a cue that works against the model"
                ),
            }
        )
    return outcome


def _flipped(result: AuditResult) -> tuple[str, ...]:
    """Images that lose most of their label's probability between the two arms."""
    table = result.interventions
    if table is None or table.empty:
        return ()
    arms = table.pivot_table(index="image_id", columns="arm", values="target_probability", aggfunc="mean")
    if not {"same_class", "other_class"} <= set(arms.columns):
        return ()
    drop = (arms["same_class"] - arms["other_class"]).sort_values(ascending=False, kind="stable")
    return tuple(str(image_id) for image_id in drop.index[:WORST])


@check("champion", AtMost)
def champion(context: Context, options: AtMost) -> CheckResult:
    """Invalid activation (label's class) may exceed the champion's by at most `max`, on the same images."""
    rival = context.champion
    if rival is None or rival.data_digest != context.result.data_digest:
        reason = "not_measured" if rival is None else "settings_differ"
        detail = (
            "no champion's audit was given" if rival is None else "the champion was audited on other images"
        )
        return CheckResult(
            name="champion",
            status=Status.ERROR,
            reason=reason,
            message=f"comparison with the champion: {detail}",
            limit=options.max,
        )
    theirs = rival.scores.set_index("image_id")["invalid_activation_label"]
    scores = context.result.scores
    excess = scores["invalid_activation_label"] - scores["image_id"].map(theirs)

    def measure(rows: pd.Series | None, level: float) -> Estimate:
        chosen = excess.notna() if rows is None else excess.notna() & rows
        return mean_estimate(
            excess[chosen].to_numpy(),
            scores["group"][chosen].to_numpy(),
            bounds=(-1.0, 1.0),
            level=level,
            seed=context.result.settings.seed,
        )

    return _judge_measure(
        context,
        "champion",
        measure,
        options.max,
        smaller=True,
        message=lambda e: (
            f"invalid activation is {100 * e.value:+.0f} points against the champion's "
            f"(95 % interval {_span(e, 100, 0)}, limit {100 * options.max:+.0f})"
        ),
        skip=_region_free(context),
    )
