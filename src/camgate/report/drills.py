"""What the page shows of a drill: the sentence, what it rests on, and a row for each mutant."""

from __future__ import annotations

from dataclasses import dataclass

from camgate.gate.drilled import DrillResult, Mutant
from camgate.gate.verdict import Status
from camgate.report import text
from camgate.report.words import check_words

_ROLES = {
    "biased": "relies on it",
    "clean": "stamp at random",
    "between": "not counted: relies on it too little, or not little enough",
    "spoilt": "not counted: the stamp or the refit spoilt it",
}


@dataclass(frozen=True)
class MutantRow:
    """A mutant in words."""

    kind: str
    area: str
    role: str
    reliance: str
    lift: str
    gap: str
    status: Status | None
    by: str


@dataclass(frozen=True)
class DrillSection:
    """The drill in words."""

    sentence: str
    detail: str
    warnings: tuple[str, ...]
    rows: tuple[MutantRow, ...]


def drill_section(drill: DrillResult) -> DrillSection:
    """Prepare the section; counted mutants first, each kind by size."""
    counted = len(drill.biased) + len(drill.clean)
    detail = (
        f"{len(drill.mutants)} copies were made in {drill.seconds / 60:.1f} minutes (allowed: "
        f"{drill.budget_seconds / 60:g}) and {counted} of them counted; each was audited on {drill.images} "
        "images. Blocked means that the verdict was FAIL."
    )
    order = {"biased": 0, "clean": 1, "between": 2, "spoilt": 3}
    rows = sorted(drill.mutants, key=lambda m: (order[m.role], m.kind, m.area))
    return DrillSection(drill.sentence(), detail, drill.warnings, tuple(map(_row, rows)))


def _row(mutant: Mutant) -> MutantRow:
    return MutantRow(
        kind=mutant.kind,
        area=text.number(mutant.area, "percent"),
        role=_ROLES[mutant.role],
        reliance=text.number(mutant.reliance, "points"),
        lift=text.number(mutant.invalid_lift, "ratio"),
        gap=text.number(mutant.background_gap, "points"),
        status=mutant.status,
        by=", ".join(check_words(name).title for name in mutant.blocked_by),
    )
