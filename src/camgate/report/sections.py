"""What the page shows of the audit itself: key numbers, distribution, causal test, gallery, data."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from camgate.audit.result import AuditResult
from camgate.audit.summary import activation, background_gap
from camgate.gate.verdict import Status, Verdict
from camgate.report import svg, text
from camgate.report.words import ARMS, BASELINES, IMAGE_STATES

NAMED = 20
"""Unreadable images named at most."""


@dataclass(frozen=True)
class Number:
    """A key number: value, interval, what it is."""

    title: str
    value: str
    interval: str
    note: str


@dataclass(frozen=True)
class Bar:
    """A labelled horizontal bar."""

    label: str
    value: str
    graphic: Markup
    note: str = ""


@dataclass(frozen=True)
class Causal:
    """The background gap in a sentence and three bars."""

    sentence: str
    detail: str
    bars: tuple[Bar, ...]


def overall_activation(
    result: AuditResult, verdict: Verdict
) -> tuple[float | None, float | None, float | None]:
    """Mean invalid activation with its interval, the verdict's own where it has that check."""
    check = verdict.check("invalid_activation")
    if check is not None and check.value is not None:
        return check.value, check.low, check.high
    estimate = activation(result)
    return text.finite(estimate.value), text.finite(estimate.low), text.finite(estimate.high)


def key_numbers(result: AuditResult, verdict: Verdict) -> tuple[Number, ...]:
    """The four numbers at the head of the page."""
    scores = result.scores
    value, low, high = overall_activation(result, verdict)
    uniform = text.number(result.baselines.get("uniform"), "percent")
    readable = scores[scores["status"].ne("unreadable")]
    accuracy = verdict.check("accuracy")
    measured = accuracy is not None and accuracy.value is not None
    plain_accuracy = float(readable["predicted"].eq(readable["label"]).mean()) if len(readable) else None
    gap = verdict.check("background_gap")
    gap_measured = gap is not None and gap.value is not None
    return (
        Number(
            "Images audited",
            text.count(len(scores)),
            "",
            f"in {text.count(scores['group'].nunique())} independent groups, "
            f"{text.count(int(scores['status'].eq('ok').sum()))} scored",
        ),
        Number(
            "Accuracy",
            text.number(accuracy.value if accuracy and measured else plain_accuracy, "percent"),
            text.interval(accuracy.low, accuracy.high, "percent") if accuracy and measured else "",
            "on the audited images",
        ),
        Number(
            "Invalid activation",
            text.number(value, "percent"),
            text.interval(low, high, "percent"),
            f"of the heatmap mass lies outside the object; a uniform map would score {uniform}",
        ),
        Number(
            "Background gap",
            text.number(gap.value if gap and gap_measured else None, "points"),
            text.interval(gap.low, gap.high, "points") if gap and gap_measured else "",
            "of accuracy lost on backgrounds of another class"
            if gap_measured
            else (
                "not measured"
                if gap is not None or result.interventions is None
                else "not judged by this policy"
            ),
        ),
    )


def distribution(result: AuditResult, verdict: Verdict) -> Markup | None:
    """Histogram of invalid activation with the mean and the three baselines; None where nothing is scored."""
    scores = result.scores
    values = (
        scores.loc[scores["status"].eq("ok"), "invalid_activation_label"].dropna().to_numpy(dtype=np.float64)
    )
    mean, _, _ = overall_activation(result, verdict)
    marks = [] if mean is None else [svg.Mark("mean", "mean of this model", mean)]
    for name, (title, _) in BASELINES.items():
        share = text.finite(result.baselines.get(name))
        if share is not None:
            marks.append(svg.Mark(name, title, share))
    described = "; ".join(f"{mark.label} {text.number(mark.x, 'percent')}" for mark in marks)
    name = f"Histogram of the invalid activation of {np.isfinite(values).sum()} images. {described}."
    return svg.histogram(values, marks, name=name)


def causal(result: AuditResult, verdict: Verdict) -> Causal | None:
    """Accuracy as photographed and in the two arms; None where no background was swapped."""
    table = result.interventions
    if table is None or table.empty:
        return None
    check = verdict.check("background_gap")
    label = table["image_id"].map(result.scores.set_index("image_id")["label"])
    swapped = table.loc[table["arm"].ne("original"), "image_id"].nunique()
    if check is not None and check.n and check.n != swapped:
        # The policy leaves region-free classes out of this check; the bars must show the same images.
        table = table[~label.isin(result.region_free)]
    correct = table["predicted"].eq(label.loc[table.index]).astype(float)
    accuracy = correct.groupby(table["arm"]).mean()
    confidence = table["target_probability"].groupby(table["arm"]).mean()
    shown = {arm: text.finite(accuracy.get(arm)) for arm in ARMS}
    if shown["same_class"] is None or shown["other_class"] is None:
        return None
    if check is not None and check.value is not None:
        gap, low, high = check.value, check.low, check.high
    else:
        found = background_gap(result)
        if found is None:
            return None
        gap, low, high = found.estimate.value, found.estimate.low, found.estimate.high
    span = text.interval(low, high, "points")
    span = f" (95 % interval {span})" if span else ""
    if abs(gap) < 0.005:
        opening = f"It makes hardly any difference to accuracy which class the background comes from{span}"
    else:
        moved = "loses" if gap > 0 else "gains"
        opening = (
            f"With the object kept and the background taken from another class instead of the same one, "
            f"the model {moved} {text.number(abs(gap), 'points')} of accuracy"
        )
        # The interval is that of the signed gap, so its sign is given with it.
        opening += f": the gap is {text.bare(gap, 'points')}{span}"
    shift = text.finite(confidence.get("same_class", np.nan) - confidence.get("other_class", np.nan))
    detail = ""
    if shift is not None:
        detail = f"The probability of the label changes by {text.bare(-shift, 'points')} points. "
    if shown["original"] is not None:
        cost = text.number(shown["original"] - shown["same_class"], "points")
        detail += f"Compositing alone costs {cost}. "
    failed = check is not None and check.status is Status.FAIL
    bars = tuple(
        Bar(
            name,
            text.number(shown[arm], "percent"),
            svg.bar(shown[arm], kind="bar failed" if failed and arm == "other_class" else "bar"),
        )
        for arm, name in ARMS.items()
        if shown[arm] is not None
    )
    return Causal(opening + ".", detail.strip(), bars)


def states(result: AuditResult) -> tuple[Bar, ...]:
    """How many images are in which state, all states listed."""
    counts = result.scores["status"].value_counts()
    total = max(len(result.scores), 1)
    known = [*IMAGE_STATES, *(state for state in counts.index if state not in IMAGE_STATES)]
    bars = []
    for state in known:
        amount = int(counts.get(state, 0))
        title, note = IMAGE_STATES.get(state, (text.word(state), ""))
        bars.append(Bar(title, text.count(amount), svg.bar(amount / total), note))
    return tuple(bars)


def unreadable(result: AuditResult) -> tuple[tuple[str, ...], int]:
    """Names of the first unreadable images, and how many more there are."""
    names = result.scores.loc[result.scores["status"].eq("unreadable"), "image_id"].astype(str)
    return tuple(names.head(NAMED)), max(len(names) - NAMED, 0)


def command(result: AuditResult) -> str:
    """The command line that makes this audit again, as far as the audit knows."""
    model = result.model_uri or "MODEL"
    slices = "".join(f" --slice {shlex.quote(name)}" for name in result.settings.slices)
    return f"camgate audit --model {shlex.quote(model)} --data DATA --policy POLICY.yaml{slices} --out DIR"
