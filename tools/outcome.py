"""What a check of a release found, and the words it is told in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
OK = "ok"
FAILED = "failed"
NOT_CHECKED = "not checked"


@dataclass(frozen=True)
class Outcome:
    """One line of the release check.

    Attributes:
        name: what was checked.
        state: `ok`, `failed`, or `not checked` where it could not be known.
        findings: what is wrong, or why it was not checked.
        notes: what is worth telling although nothing is wrong.
    """

    name: str
    state: str
    findings: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        """The name and the state, with whatever was found below."""
        lines = [f"{self.state:<12} {self.name}"]
        lines += [f"{'':<12}   {line}" for line in (*self.findings, *self.notes)]
        return "\n".join(lines)


def outcome(name: str, findings: Iterable[str], notes: Iterable[str] = ()) -> Outcome:
    """Failed where there are findings."""
    found = tuple(findings)
    return Outcome(name, FAILED if found else OK, found, tuple(notes))


def not_checked(name: str, why: str) -> Outcome:
    """Neither good nor bad, and never counted as good."""
    return Outcome(name, NOT_CHECKED, (f"not checked: {why}",))
