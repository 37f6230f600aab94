"""What the gate says: check results and the verdict that joins them. Data first."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

from camgate.gate.waivers import WaiverTerms


class Status(StrEnum):
    """Outcome of a check and of a verdict."""

    PASS = "PASS"  # noqa: S105
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    ERROR = "ERROR"

    @property
    def exit_code(self) -> int:
        """Exit code of the command line: 0 PASS, 1 FAIL, 3 INCONCLUSIVE, 4 ERROR."""
        return {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3, "ERROR": 4}[self.value]


SEVERITY = (Status.ERROR, Status.FAIL, Status.INCONCLUSIVE, Status.PASS)
"""Gravest first."""


def gravest(statuses: Iterable[Status]) -> Status:
    """The gravest of them; of none at all INCONCLUSIVE, for nothing was shown."""
    return min(statuses, key=SEVERITY.index, default=Status.INCONCLUSIVE)


_FINDING = re.compile(r'^ {8}\{\n {10}"part":.*?\n {8}\}', re.MULTILINE | re.DOTALL)


class Finding(BaseModel):
    """An estimate of one part of the data (`overall`, a class, or a slice) held against a limit.

    `low` and `high` bound the value at 95 %. `low_corrected` and `high_corrected` are the bounds
    corrected for the number of looks; a FAIL of a part rests on them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    part: str
    value: float | None
    low: float | None
    high: float | None
    low_corrected: float | None = None
    high_corrected: float | None = None
    n: int
    groups: int
    status: Status
    reason: str
    detectable: float | None = None
    """Smallest excess over the limit that this n would show with 80 % power; None where not estimable."""


def worst_first(findings: Iterable[Finding], *, smaller: bool) -> list[Finding]:
    """The gravest status first, within it the worst value; those without a value last."""

    def key(finding: Finding) -> tuple[int, bool, float]:
        value = finding.value or 0.0
        return SEVERITY.index(finding.status), finding.value is None, -value if smaller else value

    return sorted(findings, key=key)


class CheckResult(BaseModel):
    """One check of the policy.

    Attributes:
        name: as in the policy.
        status: PASS | FAIL | INCONCLUSIVE | ERROR.
        reason: machine-readable code, e.g. `above_limit`, `straddles_limit`, `too_few_images`.
        message: one plain sentence.
        value, low, high, limit, n, groups: the pooled estimate with its 95 % interval.
        smaller_is_better: direction of the limit.
        parts: the same per class and per slice.
        worst: image ids to look at first.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    status: Status
    reason: str
    message: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    n: int = 0
    groups: int = 0
    smaller_is_better: bool = True
    parts: tuple[Finding, ...] = ()
    worst: tuple[str, ...] = ()


class Verdict(BaseModel):
    """The gate's answer about one audit under one policy.

    Attributes:
        status: PASS | FAIL | INCONCLUSIVE | ERROR.
        reason: code of the check that decided, `ok` on PASS.
        sentence: the verdict in plain words.
        checks: all of them, in the order of the policy.
        policy_digest, model_digest, data_digest: what this verdict belongs to (SHA-256 hex).
        settings: the audit's settings.
        on_block: what `enforce` does when the status is not PASS: `fail` or `warn`.
        max_evidence_days: days after `created` for which it may promote, as the policy says.
        waivers: what the policy says about waivers of a FAIL.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: Status
    reason: str
    sentence: str
    checks: tuple[CheckResult, ...]
    policy_digest: str
    model_digest: str
    data_digest: str
    settings: dict[str, Any]
    on_block: str = "fail"
    max_evidence_days: float | None = None
    waivers: WaiverTerms = WaiverTerms()
    created: str = ""
    camgate_version: str = ""

    def check(self, name: str) -> CheckResult | None:
        """The result of the check called `name`, None where the policy has none."""
        return next((check for check in self.checks if check.name == name), None)

    def to_json(self) -> str:
        """The text of `verdict.json`: indented, each class or slice of a check on one line."""
        # A line break in JSON is never inside a string, so each of these lines is one field.
        return _FINDING.sub(_in_one_line, self.model_dump_json(indent=2)) + "\n"


def _in_one_line(finding: re.Match[str]) -> str:
    _, *fields, _ = (line.strip(" ") for line in finding[0].split("\n"))
    return f"{' ' * 8}{{{' '.join(fields)}}}"
