"""Text and numbers as they are printed. Strings from data stay text whatever they hold."""

from __future__ import annotations

import math
import unicodedata
from datetime import UTC, datetime
from typing import Any

from camgate.errors import some_of
from camgate.gate.verdict import CheckResult, Finding, Status, Verdict, worst_first
from camgate.report.words import Unit

NAMED = 5
"""Classes and slices named in a line of the terminal."""
NOTHING = "–"
"""Shown where a number was not measured."""

_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_JOINERS = "\u200c\u200d"  # needed to write some scripts
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def plain(text: str) -> str:
    r"""Make control, direction and surrogate characters visible (`\x1b`, `\u202e`); the rest stays.

    Without this a file name could reorder the words beside it, or not be encodable at all.
    """
    if text.isprintable():
        return text
    return "".join(
        character
        if unicodedata.category(character) not in _INVISIBLE or character in _JOINERS
        else _SHORT.get(character) or _escaped(ord(character))
        for character in text
    )


def _escaped(code: int) -> str:
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"


def finite(value: Any) -> float | None:
    """The number as float, None where it is missing, NaN or infinite."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def number(value: Any, unit: Unit, *, sign: bool = False) -> str:
    """A value with its unit: `31.4 %`, `24.0 points`, `0.32`; a dash where there is none."""
    amount = bare(value, unit, sign=sign)
    suffix = {"percent": "\u00a0%", "points": "\u00a0points"}.get(unit, "")
    return amount if amount == NOTHING else amount + suffix


def bare(value: Any, unit: Unit, *, sign: bool = False) -> str:
    """The same without the unit."""
    amount = finite(value)
    if amount is None:
        return NOTHING
    scale, digits = {"percent": (100, 1), "points": (100, 1), "ratio": (1, 2)}.get(unit, (1, 3))
    shown = f"{scale * amount:{'+' if sign else ''}.{digits}f}"
    if float(shown) == 0:
        shown = shown.lstrip("-+")
    return shown.replace("-", "\u2212")


def interval(low: Any, high: Any, unit: Unit) -> str:
    """`0.29 to 0.33` without unit, empty where a bound is missing."""
    if finite(low) is None or finite(high) is None:
        return ""
    return f"{bare(low, unit)} to {bare(high, unit)}"


def limit(value: Any, unit: Unit, *, smaller: bool) -> str:
    """`at most 0.40` or `at least 85.0 %`."""
    if finite(value) is None:
        return NOTHING
    return f"{'at most' if smaller else 'at least'} {number(value, unit)}"


def count(amount: int) -> str:
    """An integer with thin spaces between thousands."""
    return f"{amount:,}".replace(",", "\u202f")


def word(value: Any) -> str:
    """A label or name; a dash for None and NaN."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return NOTHING
    return str(value)


def when(time: str) -> str:
    """A time stamp of an audit or verdict to the minute; whatever else it may be stays as it is."""
    try:
        return f"{datetime.fromisoformat(time).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    except ValueError:
        return time


def part_lines(verdict: Verdict) -> list[str]:
    """Worst classes and slices of each check that fails or waits for them; how many are too small."""
    return [f"{check.name}: {'; '.join(said)}" for check in verdict.checks if (said := _of_parts(check))]


def _of_parts(check: CheckResult) -> list[str]:
    worst = [
        finding
        for finding in worst_first(check.parts, smaller=check.smaller_is_better)
        if finding.status is not Status.PASS
    ]
    said = []
    if worst and (check.status is Status.FAIL or check.reason == "use_undecided"):
        said.append(f"worst {some_of([_named(finding) for finding in worst], NAMED)}")
    small = sum(finding.reason == "too_small" for finding in worst)
    if small:
        said.append(
            f"{small} of {len(check.parts)} classes and slices are too small to judge alone, "
            "there only the pooled value decides"
        )
    return said


def _named(finding: Finding) -> str:
    value = "" if finding.value is None else f"{finding.value:.3f} "
    return f"{plain(finding.part)} ({value}{finding.status.value})"


def sentence(text: str) -> str:
    """First letter large, full stop at the end."""
    text = text.strip()
    if not text:
        return ""
    return text[0].upper() + text[1:] + ("" if text[-1] in ".!?" else ".")
