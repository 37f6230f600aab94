"""The verdict for machines and for pull requests: summary, JUnit XML, Markdown."""

from __future__ import annotations

import hashlib
import json
import re
from functools import cache
from importlib.resources import files
from typing import Any
from xml.etree import ElementTree

from camgate.audit.result import AuditResult
from camgate.audit.summary import summarise
from camgate.gate.verdict import CheckResult, Status, Verdict, worst_first
from camgate.report import text
from camgate.report.words import check_words, reason_in_words

SCHEMA_VERSION = 1
SCHEMA_ID = f"https://camgate.dev/schemas/summary-v{SCHEMA_VERSION}.json"
_PARTS = 5
"""Classes and slices named for a check at most."""
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MARKDOWN = re.compile(r"([\\`*_\[\]<>|#@&~!]|:(?=//))")


def verdict_fingerprint(verdict: Verdict) -> str:
    """SHA-256 hex of what a verdict says, whenever and by whichever version it was said."""
    said = verdict.model_copy(update={"created": "", "camgate_version": ""}).model_dump_json()
    return hashlib.sha256(said.encode()).hexdigest()


def summary(result: AuditResult, verdict: Verdict) -> dict[str, Any]:
    """The content of `summary.json`, as its published schema (`summary_schema`) says."""
    return {
        "schema": SCHEMA_ID,
        "verdict": verdict.status.value,
        "reason": verdict.reason,
        "sentence": verdict.sentence,
        "checks": {
            check.name: {
                "status": check.status.value,
                "reason": check.reason,
                "value": text.finite(check.value),
                "low": text.finite(check.low),
                "high": text.finite(check.high),
                "limit": text.finite(check.limit),
                "smaller_is_better": check.smaller_is_better,
                "n": check.n,
                "groups": check.groups,
            }
            for check in verdict.checks
        },
        "numbers": summarise(result),
        "model_digest": verdict.model_digest,
        "data_digest": verdict.data_digest,
        "policy_digest": verdict.policy_digest,
        "fingerprint": verdict_fingerprint(verdict),
    }


@cache
def summary_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of `summary.json`; another form gets another version number."""
    path = files("camgate.report") / "schemas" / f"summary-v{SCHEMA_VERSION}.json"
    return dict(json.loads(path.read_text(encoding="utf-8")))


def junit(verdict: Verdict) -> str:
    """The verdict as JUnit XML, so that any CI shows it: each check is a test case.

    FAIL and INCONCLUSIVE are failures (the type tells which), for CI counts a skipped test as passed; ERROR
    is an error.
    """
    counted = [check.status for check in verdict.checks]
    failed = sum(status in {Status.FAIL, Status.INCONCLUSIVE} for status in counted)
    counts = {
        "tests": str(len(counted)),
        "failures": str(failed),
        "errors": str(counted.count(Status.ERROR)),
        "skipped": "0",
    }
    root = ElementTree.Element("testsuites", {"name": "camgate"} | counts)
    suite = ElementTree.SubElement(
        root, "testsuite", {"name": "camgate", "timestamp": verdict.created[:19]} | counts
    )
    properties = ElementTree.SubElement(suite, "properties")
    for name in ("status", "reason", "model_digest", "data_digest", "policy_digest", "camgate_version"):
        value = _xml(str(getattr(verdict, name)))
        ElementTree.SubElement(properties, "property", {"name": f"camgate.{name}", "value": value})
    for check in verdict.checks:
        case = ElementTree.SubElement(
            suite, "testcase", {"classname": "camgate", "name": _xml(check.name), "time": "0"}
        )
        said = _xml(check.message)
        if check.status is not Status.PASS:
            element = "error" if check.status is Status.ERROR else "failure"
            found = ElementTree.SubElement(case, element, {"message": said, "type": str(check.status)})
            why = f"{reason_in_words(check.reason)} ({check.reason})"
            found.text = _xml("\n".join([why, *_worst(check)]))
        else:
            ElementTree.SubElement(case, "system-out").text = said
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def markdown(result: AuditResult, verdict: Verdict) -> str:
    """The verdict for a pull request: the sentence, a table of the checks, the classes that decide."""
    sign = {"PASS": "✅", "FAIL": "❌", "INCONCLUSIVE": "❔", "ERROR": "⚠️"}
    rows = [
        "| check | value | 95 % interval | limit | images | groups | status |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for check in verdict.checks:
        words = check_words(check.name)
        why = "" if check.reason == "ok" else f" ({escaped(reason_in_words(check.reason))})"
        span = text.interval(check.low, check.high, words.unit) if check.value is not None else ""
        cells = (
            escaped(words.title),
            text.number(check.value, words.unit),
            span,
            text.limit(check.limit, words.unit, smaller=check.smaller_is_better),
            text.count(check.n) if check.n else "",
            text.count(check.groups) if check.groups else "",
            f"{sign[check.status]} {check.status}{why}",
        )
        rows.append(f"| {' | '.join(cells)} |")
    worst = [
        f"- {escaped(check_words(check.name).title)}: {escaped('; '.join(_worst(check)))}"
        for check in verdict.checks
        if check.status is not Status.PASS and _worst(check)
    ]
    model = escaped(result.model_uri or "") + (" " if result.model_uri else "")
    return "\n".join(
        [
            f"### {sign[verdict.status]} camgate: {verdict.status}",
            "",
            escaped(verdict.sentence),
            "",
            *rows,
            "",
            *([*worst, ""] if worst else []),
            f"Model {model}`{verdict.model_digest[:12]}`, data `{verdict.data_digest[:12]}`, policy "
            f"`{verdict.policy_digest[:12]}`. What the audit cannot see is in the report.",
            "",
        ]
    )


def _worst(check: CheckResult) -> list[str]:
    """The classes and slices that do not pass, the gravest first."""
    parts = [
        part
        for part in worst_first(check.parts, smaller=check.smaller_is_better)
        if part.status is not Status.PASS and part.reason != "too_small"
    ]
    unit = check_words(check.name).unit
    told = [
        f"{text.plain(part.part)} {text.number(part.value, unit)} {part.status}" for part in parts[:_PARTS]
    ]
    return told + ([f"and {len(parts) - _PARTS} more"] if len(parts) > _PARTS else [])


def _xml(said: str) -> str:
    """Without what XML cannot hold; control characters are made visible first."""
    return _NO_XML.sub("\ufffd", "\n".join(map(text.plain, said.split("\n"))))


def escaped(said: str) -> str:
    """A text that no Markdown reader takes for markup, mention or link, on one line."""
    return _MARKDOWN.sub(r"\\\1", text.plain(" ".join(said.split())))
