"""What the page shows of the verdict's checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup

from camgate.gate.verdict import CheckResult, Status, Verdict
from camgate.report import svg, text
from camgate.report.words import PART_REASONS, CheckWords, check_words, reason_in_words


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
