"""What the page shows of the verdict's checks and of their parts: classes and slices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from camgate.audit.result import AuditResult
from camgate.audit.summary import activation
from camgate.gate.verdict import SEVERITY, CheckResult, Finding, Status, Verdict
from camgate.report import svg, text
from camgate.report.words import PART_REASONS, CheckWords, Unit, check_words, reason_in_words

SHOWN = 20
"""Classes shown unfolded."""
CLASS = "class "


@dataclass(frozen=True)
class CheckRow:
    """One row of the table of checks."""

    words: CheckWords
    status: Status
    value: str
    interval: str
    limit: str
    n: str
    groups: str
    reason: str
    code: str
    message: str
    plot: Markup | None
    worst: tuple[tuple[str, str | None], ...]
    """Image ids to look at first, each with the anchor of its gallery card where it has one."""


@dataclass(frozen=True)
class Cell:
    """A number of a class or slice with its interval, and the status of its finding where there is one."""

    value: str
    interval: str = ""
    status: Status | None = None
    note: str = ""


@dataclass(frozen=True)
class PartRow:
    """One class or slice."""

    name: str
    n: str
    scored: str
    cells: tuple[Cell, ...]
    spark: Markup | None = None
    region_free: bool = False


@dataclass(frozen=True)
class PartTable:
    """Classes or slices: column titles, rows shown, rows folded away, and what the checks cannot judge."""

    columns: tuple[str, ...]
    rows: tuple[PartRow, ...]
    folded: tuple[PartRow, ...]
    notes: tuple[str, ...] = ()


def check_rows(verdict: Verdict, anchors: Mapping[str, str]) -> tuple[CheckRow, ...]:
    """The verdict's checks in its own order."""
    return tuple(_check_row(check, anchors) for check in verdict.checks)


def _check_row(check: CheckResult, anchors: Mapping[str, str]) -> CheckRow:
    words = check_words(check.name)
    return CheckRow(
        words=words,
        status=check.status,
        value=text.number(check.value, words.unit),
        interval=text.interval(check.low, check.high, words.unit) if check.value is not None else "",
        limit=text.limit(check.limit, words.unit, smaller=check.smaller_is_better),
        n=text.count(check.n) if check.n else text.NOTHING,
        groups=text.count(check.groups) if check.groups else text.NOTHING,
        reason=reason_of(check),
        code=check.reason,
        message=text.sentence(check.message),
        plot=svg.interval_plot(
            value=check.value,
            low=check.low,
            high=check.high,
            limit=check.limit,
            unit=words.unit,
            smaller=check.smaller_is_better,
        ),
        worst=tuple((image_id, anchors.get(image_id)) for image_id in check.worst),
    )


def reason_of(check: CheckResult) -> str:
    """The reason in plain words; a class or slice that alone fails is named as such."""
    bound = check.low if check.smaller_is_better else check.high
    if check.reason in PART_REASONS and bound is not None and check.limit is not None:
        beyond = bound > check.limit if check.smaller_is_better else bound < check.limit
        if not beyond:
            return PART_REASONS[check.reason]
    return reason_in_words(check.reason)


def class_table(result: AuditResult, verdict: Verdict) -> PartTable:
    """Classes, those with the gravest finding and the highest invalid activation first.

    Intervals are those of the verdict's parts. Where the policy has no check on invalid activation they
    are computed the same way for the classes that are shown unfolded.
    """
    findings = _by_part(verdict)
    checks = _with_parts(verdict, classes=True)
    others = [check for check in checks if check.name not in _FIXED]
    frame = _class_numbers(result)
    worst = {
        label: min((SEVERITY.index(f.status) for f in findings.get(CLASS + label, {}).values()), default=4)
        for label in result.classes
    }
    order = sorted(
        result.classes, key=lambda label: (worst[label], -_or(frame.at[label, "activation"], -1.0), label)
    )
    rows = []
    for position, label in enumerate(order):
        numbers: dict[str, Any] = frame.loc[label].to_dict()  # type: ignore[assignment]
        found = findings.get(CLASS + label, {})
        shown = position < SHOWN
        rows.append(
            PartRow(
                name=label,
                n=text.count(int(numbers["n"])),
                scored=text.count(int(numbers["scored"])),
                cells=(
                    _cell(found.get("accuracy"), "percent", value=numbers["accuracy"]),
                    _activation_cell(result, label, found, numbers, compute=shown),
                    *(_cell(found.get(check.name), check_words(check.name).unit) for check in others),
                ),
                spark=svg.sparkline(_activations(result, label)) if shown and numbers["scored"] else None,
                region_free=label in result.region_free,
            )
        )
    columns = ("Accuracy", "Invalid activation", *(check_words(check.name).title for check in others))
    return PartTable(columns, tuple(rows[:SHOWN]), tuple(rows[SHOWN:]), _too_small(checks, classes=True))


def slice_table(verdict: Verdict) -> PartTable | None:
    """The named slices, gravest finding first; None where the audit has none."""
    checks = _with_parts(verdict, classes=False)
    findings = {part: found for part, found in _by_part(verdict).items() if not part.startswith(CLASS)}
    if not findings:
        return None
    order = sorted(
        findings,
        key=lambda part: (min(SEVERITY.index(found.status) for found in findings[part].values()), part),
    )
    rows = tuple(
        PartRow(
            name=part,
            n=text.count(max(finding.n for finding in findings[part].values())),
            scored="",
            cells=tuple(
                _cell(findings[part].get(check.name), check_words(check.name).unit) for check in checks
            ),
        )
        for part in order
    )
    columns = tuple(check_words(check.name).title for check in checks)
    return PartTable(columns, rows[:SHOWN], rows[SHOWN:], _too_small(checks, classes=False))


def _too_small(checks: list[CheckResult], *, classes: bool) -> tuple[str, ...]:
    """For each check that cannot judge some classes or slices alone, how many these are."""
    notes = []
    for check in checks:
        parts = [finding for finding in check.parts if finding.part.startswith(CLASS) is classes]
        small = sum(finding.reason == "too_small" for finding in parts)
        if small:
            notes.append(
                f"{check_words(check.name).title}: {text.count(small)} of {text.count(len(parts))} "
                f"{'classes' if classes else 'slices'} have too few images or groups to be judged alone; "
                "there only the pooled value decides."
            )
    return tuple(notes)


_FIXED = ("accuracy", "invalid_activation")


def _with_parts(verdict: Verdict, *, classes: bool) -> list[CheckResult]:
    return [
        check
        for check in verdict.checks
        if any(finding.part.startswith(CLASS) is classes for finding in check.parts)
    ]


def _by_part(verdict: Verdict) -> dict[str, dict[str, Finding]]:
    found: dict[str, dict[str, Finding]] = {}
    for check in verdict.checks:
        for finding in check.parts:
            found.setdefault(finding.part, {})[check.name] = finding
    return found


def _class_numbers(result: AuditResult) -> pd.DataFrame:
    """Per class: images, scored ones, accuracy over the readable, mean invalid activation (label's map)."""
    scores = result.scores
    labels = scores["label"].astype(str)
    ok = scores["status"].eq("ok")
    hits = scores["predicted"].eq(scores["label"]).where(scores["status"].ne("unreadable"))
    table = pd.DataFrame(
        {
            "n": labels.value_counts(),
            "scored": ok.groupby(labels).sum(),
            "accuracy": hits.astype(float).groupby(labels).mean(),
            "activation": scores["invalid_activation_label"].astype(float).where(ok).groupby(labels).mean(),
        }
    )
    return table.reindex(list(result.classes)).fillna({"n": 0, "scored": 0})


def _activations(result: AuditResult, label: str) -> np.ndarray:
    scores = result.scores
    rows = scores["label"].eq(label) & scores["status"].eq("ok")
    return scores.loc[rows, "invalid_activation_label"].to_numpy(dtype=np.float64)


def _activation_cell(
    result: AuditResult,
    label: str,
    found: Mapping[str, Finding],
    numbers: Mapping[str, Any],
    *,
    compute: bool,
) -> Cell:
    finding = found.get("invalid_activation")
    if finding is None and compute and numbers["scored"]:
        estimate = activation(result, np.flatnonzero(result.scores["label"].eq(label).to_numpy()))
        return Cell(
            text.number(estimate.value, "percent"), text.interval(estimate.low, estimate.high, "percent")
        )
    return _cell(finding, "percent", value=numbers["activation"])


def _cell(finding: Finding | None, unit: Unit, *, value: float | None = None) -> Cell:
    if finding is None:
        return Cell(text.number(value, unit))
    note = reason_in_words(finding.reason)
    if finding.reason == "straddles_limit" and finding.detectable is not None:
        excess = text.number(finding.detectable, unit)
        note = f"{text.sentence(note)} This many images would show an excess of {excess} or more."
    return Cell(
        text.number(finding.value, unit), text.interval(finding.low, finding.high, unit), finding.status, note
    )


def _or(value: Any, instead: float) -> float:
    found = text.finite(value)
    return instead if found is None else found
