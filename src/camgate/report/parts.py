"""What the page shows of classes and slices: numbers with intervals, findings, distribution."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from markupsafe import Markup

from camgate.audit.intervals import Estimate
from camgate.audit.result import AuditResult
from camgate.audit.summary import Measures, Rows, parts
from camgate.gate.verdict import SEVERITY, CheckResult, Finding, Status, Verdict
from camgate.report import svg, text
from camgate.report.words import Unit, check_words, reason_in_words

SHOWN = 20
"""Classes shown unfolded, and slices."""
LEVEL = 0.95
_CLASS = "class "
_ALWAYS = ("accuracy", "invalid_activation")
"""Numbers that every audit has, whether or not the policy judges them."""

Kind = Literal["class", "slice"]


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
    spread: Markup | None = None
    region_free: bool = False


@dataclass(frozen=True)
class PartTable:
    """Classes or slices: column titles, rows shown, rows folded away, and what the checks cannot judge."""

    columns: tuple[str, ...]
    rows: tuple[PartRow, ...]
    folded: tuple[PartRow, ...]
    notes: tuple[str, ...] = ()


def class_table(result: AuditResult, verdict: Verdict) -> PartTable:
    """Classes, those with the gravest finding and the highest invalid activation first."""
    return _table(result, verdict, "class")


def slice_table(result: AuditResult, verdict: Verdict) -> PartTable | None:
    """The values of the named slices in the same order; None where the audit has none."""
    return _table(result, verdict, "slice") if result.settings.slices else None


def _table(result: AuditResult, verdict: Verdict, kind: Kind) -> PartTable:
    """Intervals are those of the verdict's findings; of what the policy does not judge, made alike."""
    findings: dict[str, dict[str, Finding]] = {}
    for check in verdict.checks:
        for finding in check.parts:
            findings.setdefault(finding.part, {})[check.name] = finding
    judged = [check for check in verdict.checks if any(_is(finding, kind) for finding in check.parts)]
    others = [check.name for check in judged if check.name not in _ALWAYS]
    rows_of = {
        part: rows for part, rows in parts(result).items() if part.startswith(_CLASS) is (kind == "class")
    }
    measures = Measures(result)
    activation = {part: measures.activation(rows).at(LEVEL) for part, rows in rows_of.items()}

    def rank(part: str) -> tuple[int, float, str]:
        found, value = findings.get(part, {}).values(), activation[part].value
        gravest = min((SEVERITY.index(finding.status) for finding in found), default=len(SEVERITY))
        return gravest, 1.0 if math.isnan(value) else -value, part

    table = []
    for position, part in enumerate(sorted(rows_of, key=rank)):
        found, rows, mean = findings.get(part, {}), rows_of[part], activation[part]
        name = part.removeprefix(_CLASS) if kind == "class" else part
        table.append(
            PartRow(
                name=name,
                n=text.count(len(rows)),
                scored=text.count(mean.n),
                cells=(
                    _cell(found.get("accuracy"), "percent", measures.accuracy(rows).at(LEVEL)),
                    _cell(found.get("invalid_activation"), "percent", mean),
                    *(_cell(found.get(other), check_words(other).unit) for other in others),
                ),
                spread=_spread(result, rows, mean) if position < SHOWN and mean.n else None,
                region_free=kind == "class" and name in result.region_free,
            )
        )
    columns = tuple(check_words(name).title for name in (*_ALWAYS, *others))
    return PartTable(columns, tuple(table[:SHOWN]), tuple(table[SHOWN:]), _too_small(judged, kind))


def _is(finding: Finding, kind: Kind) -> bool:
    return finding.part.startswith(_CLASS) is (kind == "class")


def _spread(result: AuditResult, rows: Rows, mean: Estimate) -> Markup:
    scored = result.scores.iloc[rows]
    scored = scored[scored["status"].eq("ok")]
    shares = scored["invalid_activation_label"].to_numpy(dtype=np.float64, na_value=np.nan)
    return svg.spread(shares, mean, uniform=float(scored["invalid_area"].mean()))


def _too_small(checks: list[CheckResult], kind: Kind) -> tuple[str, ...]:
    """For each check that cannot judge some classes or slices alone, how many these are."""
    notes = []
    for check in checks:
        found = [finding for finding in check.parts if _is(finding, kind)]
        small = sum(finding.reason == "too_small" for finding in found)
        if small:
            notes.append(
                f"{check_words(check.name).title}: {text.count(small)} of {text.count(len(found))} "
                f"{'classes' if kind == 'class' else 'slices'} have too few images or groups to be judged "
                "alone; there only the pooled value decides."
            )
    return tuple(notes)


def _cell(finding: Finding | None, unit: Unit, instead: Estimate | None = None) -> Cell:
    """The finding's number; where the policy has none, that of `instead`, without a status."""
    if finding is None:
        if instead is None:
            return Cell(text.NOTHING)
        return Cell(text.number(instead.value, unit), text.interval(instead.low, instead.high, unit))
    note = reason_in_words(finding.reason)
    if finding.reason == "straddles_limit" and finding.detectable is not None:
        excess = text.number(finding.detectable, unit)
        note = f"{text.sentence(note)} This many images would show an excess of {excess} or more."
    return Cell(
        text.number(finding.value, unit), text.interval(finding.low, finding.high, unit), finding.status, note
    )
