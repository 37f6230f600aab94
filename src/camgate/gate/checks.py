"""The checks, looked up by name. Each turns an audit into one `CheckResult`; none touches a file."""

from __future__ import annotations

from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from camgate.audit import paired, summary
from camgate.audit.result import AuditResult
from camgate.audit.statistics import Estimate, Sample, detectable_excess
from camgate.gate.measure import (
    LEVEL,
    AtLeast,
    AtMost,
    Context,
    NoRival,
    check,
    judge_measure,
    percent,
    span,
)
from camgate.gate.verdict import SEVERITY, CheckResult, Status

WORST = 10


class GapOptions(AtMost):
    """Options of `background_gap`."""

    max_composite_damage: float = Field(default=0.15, ge=0, le=1)
    """Accuracy that compositing itself may cost before the check is INCONCLUSIVE."""
    strongly_negative: float = Field(default=-0.10, ge=-1, le=0)
    """A gap below this is INCONCLUSIVE: the data hold a cue against the class that was not learnt."""


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
    return judge_measure(
        context,
        "accuracy",
        context.measures.accuracy,
        options.min,
        smaller=False,
        message=lambda e: (
            f"accuracy is {100 * e.value:.1f} % (95 % interval {span(e, 100, 1)} %, "
            f"floor {percent(options.min)})"
        ),
        worst=tuple(wrong.sort_values("confidence", ascending=False)["image_id"].astype(str).head(WORST)),
    )


@check("invalid_activation", AtMost, "heatmap")
def invalid_activation(context: Context, options: AtMost) -> CheckResult:
    """Mean share of positive heatmap mass (label's class) on invalid pixels."""
    return judge_measure(
        context,
        "invalid_activation",
        context.measures.activation,
        options.max,
        smaller=True,
        message=lambda e: (
            f"{percent(e.value)} of the positive heatmap mass lies outside the object "
            f"(95 % interval {span(e, 100, 0)} %, limit {percent(options.max)})"
        ),
        skip=_region_free(context),
        worst=_worst_by(context.result, "invalid_activation_label"),
    )


@check("invalid_lift", AtMost, "heatmap")
def invalid_lift(context: Context, options: AtMost) -> CheckResult:
    """Invalid activation over what a uniform map would score: travels between networks better than mass."""
    mass = context.measures.activation().at(LEVEL)

    def message(e: Estimate) -> str:
        return (
            f"{percent(mass.value)} of the positive heatmap mass lies outside the object, {e.value:.2f} of "
            f"what a map that ignores the object would put there (95 % interval {span(e, 1, 2)}, "
            f"limit {options.max:.2f})"
        )

    return judge_measure(
        context,
        "invalid_lift",
        context.measures.lift,
        options.max,
        smaller=True,
        message=message,
        skip=_region_free(context),
        worst=_worst_by(context.result, "invalid_activation_label"),
    )


@check("peak_invalid", AtMost, "heatmap")
def peak_invalid(context: Context, options: AtMost) -> CheckResult:
    """Share of maps that peak on invalid pixels (pointing game). A localiser, blind to global bias."""
    return judge_measure(
        context,
        "peak_invalid",
        context.measures.peak_rate,
        options.max,
        smaller=True,
        message=lambda e: (
            f"{percent(e.value)} of the heatmaps peak outside the object "
            f"(95 % interval {span(e, 100, 0)} %, limit {percent(options.max)})"
        ),
        skip=_region_free(context),
        worst=_worst_by(context.result, "peak_invalid"),
    )


@check("background_gap", GapOptions)
def background_gap(context: Context, options: GapOptions) -> CheckResult:
    """Accuracy lost when the background comes from another class instead of the same one."""
    result = context.result
    untested = context.policy.region_free.rule == "none"
    bare = result.scores["label"].isin(result.region_free).to_numpy()
    composites = summary.Composites(result)

    def tested(rows: summary.Rows | None) -> summary.Rows | None:
        if not untested:
            return rows
        return np.flatnonzero(~bare) if rows is None else rows[~bare[rows]]

    def message(e: Estimate) -> str:
        moved = (
            f"accuracy falls by {100 * e.value:.0f} points" if e.value >= 0.005 else "accuracy does not fall"
        )
        return (
            f"{moved} when the background comes from another class (95 % interval {span(e, 100, 0)} points, "
            f"limit {100 * options.max:.0f})"
        )

    pooled = composites.gap(tested(None), level=LEVEL)
    if pooled is None:
        return CheckResult(
            name="background_gap",
            status=Status.INCONCLUSIVE,
            reason="no_interventions",
            message="the audit was made without interventions, or no image had a donor outside its group",
            limit=options.max,
        )
    outcome = judge_measure(
        context,
        "background_gap",
        lambda rows: composites.sample(tested(rows)),
        options.max,
        smaller=True,
        message=message,
        skip=_region_free(context) if untested else (),
        worst=_flipped(result),
    )
    if pooled.damage > options.max_composite_damage:
        return _damaged(outcome, pooled.damage, options.max_composite_damage)
    against = outcome.high is not None and outcome.high < options.strongly_negative
    if against and outcome.status is not Status.FAIL:
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


def _damaged(outcome: CheckResult, damage: float, allowed: float) -> CheckResult:
    """Nothing is decided by composites that the model cannot read."""
    return outcome.model_copy(
        update={
            "status": Status.INCONCLUSIVE,
            "reason": "composite_damage",
            "message": (
                f"compositing itself costs {100 * damage:.0f} points of accuracy (allowed "
                f"{100 * allowed:.0f}), so swapped backgrounds say nothing here"
            ),
        }
    )


@check("background_flips", AtMost)
def background_flips(context: Context, options: AtMost) -> CheckResult:
    """Chance that two swapped backgrounds of an image give different predictions.

    It sees what the gap cannot: a mark that a model reads and that, in the audited data, goes with no class.
    """
    composites = summary.Composites(context.result)
    if composites.flips() is None:
        return CheckResult(
            name="background_flips",
            status=Status.INCONCLUSIVE,
            reason="no_interventions",
            message="the audit was made without interventions, or no image had a donor outside its group",
            limit=options.max,
        )
    untested = context.policy.region_free.rule == "none"
    bare = context.result.scores["label"].isin(context.result.region_free).to_numpy()

    def measure(rows: summary.Rows | None) -> Sample | None:
        if untested:
            rows = np.flatnonzero(~bare) if rows is None else rows[~bare[rows]]
        return composites.flips(rows)

    outcome = judge_measure(
        context,
        "background_flips",
        measure,
        options.max,
        smaller=True,
        message=lambda e: (
            f"another background changes the prediction in {percent(e.value)} of the swaps "
            f"(95 % interval {span(e, 100, 0)} %, limit {percent(options.max)})"
        ),
        skip=_region_free(context) if untested else (),
        worst=_flipped(context.result),
    )
    pooled = composites.gap(np.flatnonzero(~bare) if untested else None)
    terms = context.policy.checks.get("background_gap")
    allowed = (GapOptions.model_validate(terms) if terms else GapOptions(max=0)).max_composite_damage
    if pooled is not None and pooled.damage > allowed:
        return _damaged(outcome, pooled.damage, allowed)
    return outcome


@check("fixed_place", AtMost, "heatmap")
def fixed_place(context: Context, options: AtMost) -> CheckResult:
    """Clusters of heatmaps that stay in one place of the image: objects move, overlays do not."""
    if not any(cluster.stability_low is not None for cluster in context.result.clusters):
        return CheckResult(
            name="fixed_place",
            status=Status.INCONCLUSIVE,
            reason="not_measured",
            message="no class has heatmaps of enough images and groups for a cluster to be known to stay",
            limit=options.max,
        )
    fixed = [cluster for cluster in context.result.clusters if cluster.fixed_place]
    failed = len(fixed) > options.max
    told = f": {fixed[0].in_words.rstrip('.')}" if fixed else ""
    return CheckResult(
        name="fixed_place",
        status=Status.FAIL if failed else Status.PASS,
        reason="fixed_place" if failed else "ok",
        message=f"{len(fixed)} of {len(context.result.clusters)} clusters of heatmaps never move{told}",
        value=float(len(fixed)),
        limit=options.max,
        n=sum(cluster.images for cluster in context.result.clusters),
    )


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


class ChampionOptions(BaseModel):
    """Options of `champion`: by how much the candidate may be worse. What is None is not held against it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max: float | None = None
    """Invalid activation (label's class) that may be added."""
    max_accuracy_loss: float | None = Field(default=None, ge=0, le=1)
    """Accuracy that may be lost."""
    max_gap_excess: float | None = None
    """Background gap that may be added."""

    @model_validator(mode="after")
    def _some_limit(self) -> Self:
        if self.max is None and self.max_accuracy_loss is None and self.max_gap_excess is None:
            raise ValueError("checks.champion: give at least one of max, max_accuracy_loss, max_gap_excess")
        return self


_ALIKE = ("method_requested", "target", "tolerance", "interventions", "draws", "fill", "margin", "match_on")
"""Settings that two audits must share to be compared. Layer and method may follow from the network."""
_PAIRED: dict[paired.Measure, str] = {
    "invalid_activation": "invalid activation",
    "accuracy": "accuracy",
    "background_gap": "the background gap",
}


@check("champion", ChampionOptions, "heatmap")
def champion(context: Context, options: ChampionOptions) -> CheckResult:
    """Against the champion on the same images: invalid activation, accuracy, background gap."""
    limits: dict[paired.Measure, float | None] = {
        "invalid_activation": options.max,
        "accuracy": None if options.max_accuracy_loss is None else -options.max_accuracy_loss,
        "background_gap": options.max_gap_excess,
    }
    rival, result = context.champion, context.result
    if rival is None:
        return _unmatched(Status.ERROR, "not_measured", "no champion's audit was given")
    if isinstance(rival, NoRival):
        return _left_out(context, rival)
    detail = _otherwise_audited(result, rival)
    if detail:
        return _unmatched(Status.ERROR, "settings_differ", detail)
    pairs = paired.Pairs(result, rival)
    answers = [
        _against(context, pairs, measure, limit) for measure, limit in limits.items() if limit is not None
    ]
    headline = min(answers, key=lambda answer: SEVERITY.index(answer.status))
    told = [answer for answer in answers if answer.status is headline.status]
    return headline.model_copy(
        update={
            "message": "; ".join(answer.message for answer in told),
            "parts": tuple(part for answer in answers for part in answer.parts),
        }
    )


def _left_out(context: Context, rival: NoRival) -> CheckResult:
    """Nobody to compare with: the absolute limits decide, where there are any."""
    if rival.reason == "not_audited":
        return _unmatched(Status.ERROR, rival.reason, rival.message)
    if context.policy.checks.keys() == {"champion"}:
        detail = f"{rival.message}, and the policy has no absolute limit that could decide without"
        return _unmatched(Status.INCONCLUSIVE, rival.reason, detail)
    return _unmatched(Status.PASS, rival.reason, f"left out, {rival.message}")


def _unmatched(status: Status, reason: str, detail: str) -> CheckResult:
    return CheckResult(
        name="champion", status=status, reason=reason, message=f"comparison with the champion: {detail}"
    )


def _otherwise_audited(result: AuditResult, rival: AuditResult) -> str:
    """What of the champion's audit makes it no match for the candidate's; empty where it is one."""
    if rival.data_digest != result.data_digest:
        return "the champion was audited on other images"
    mine, its = (audited.settings.model_dump(include=set(_ALIKE)) for audited in (result, rival))
    other = [f"{name} {its[name]!r} instead of {mine[name]!r}" for name in _ALIKE if its[name] != mine[name]]
    return f"the champion was audited with {', '.join(other)}" if other else ""


def _against(context: Context, pairs: paired.Pairs, measure: paired.Measure, limit: float) -> CheckResult:
    """One of the paired differences held against its limit."""
    bare = context.result.scores["label"].isin(context.result.region_free).to_numpy()
    untested = measure == "background_gap" and context.policy.region_free.rule == "none"

    def sample(rows: summary.Rows | None) -> Sample:
        if untested:
            rows = np.flatnonzero(~bare) if rows is None else rows[~bare[rows]]
        return pairs.sample(measure, rows)

    answer = judge_measure(
        context,
        "champion",
        sample,
        limit,
        smaller=measure != "accuracy",
        message=lambda e: (
            f"{_PAIRED[measure]} is {100 * e.value:+.0f} points against the champion's "
            f"(95 % interval {span(e, 100, 0)}, limit {100 * limit:+.0f}; {e.n} images would show "
            f"{100 * detectable_excess(e):.0f} points beyond it)"
        ),
        skip=_region_free(context) if measure == "invalid_activation" or untested else (),
    )
    if measure == "invalid_activation":
        return answer
    named = tuple(
        part.model_copy(update={"part": f"{part.part}, {measure.replace('_', ' ')}"}) for part in answer.parts
    )
    return answer.model_copy(update={"parts": named})
