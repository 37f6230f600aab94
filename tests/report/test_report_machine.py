"""What machines read: the summary keeps its schema, JUnit counts as CI counts, Markdown stays text."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest

from audits_by_hand import make_audit
from camgate.audit.result import AuditResult
from camgate.gate.judge import judge
from camgate.gate.verdict import Verdict
from camgate.report.files import write_for_ci, write_summary
from camgate.report.machine import SCHEMA_ID, junit, markdown, summary, summary_schema

HOSTILE = "<img src=x onerror=alert(1)> | **bold** [link](javascript:x) @all\n# head \x1b[31m\x00"
CASES = {
    "PASS": make_audit(),
    "FAIL": make_audit(activation=0.4, other=0.4),
    "INCONCLUSIVE": make_audit(per_class=20),
    "ERROR": make_audit(seed=3),
    "NAMES": make_audit(classes=(HOSTILE, "dog"), activation=0.5, other=0.3),
    "BARE": make_audit(interventions=False),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[AuditResult, Verdict]:
    result = CASES[request.param]
    return result, judge(result)


def test_a_summary_keeps_its_schema(case: tuple[AuditResult, Verdict], tmp_path: Path) -> None:
    schema = summary_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    content = json.loads(write_summary(tmp_path, *case).read_text(encoding="utf-8"))
    jsonschema.validate(content, schema)
    assert content["schema"] == SCHEMA_ID == schema["$id"]
    assert content["verdict"] == case[1].status


@pytest.mark.parametrize(
    "edit",
    [
        {"verdict": "pass"},
        {"model_digest": "abc"},
        {"checks": {}},
        {"numbers": {"n": 1, "n_scored": 1, "accuracy": "high"}},
        {"new": 1},
        {"schema": "https://camgate.dev/schemas/summary-v2.json"},
    ],
)
def test_the_schema_notices(edit: dict[str, object]) -> None:
    content = summary(CASES["FAIL"], judge(CASES["FAIL"]))
    jsonschema.validate(content, summary_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content | edit, summary_schema())
    for key in content:
        without = {name: value for name, value in content.items() if name != key}
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(without, summary_schema())


def test_junit_counts_what_does_not_pass(case: tuple[AuditResult, Verdict]) -> None:
    verdict = case[1]
    written = junit(verdict)
    assert "\x1b" not in written
    root = ElementTree.fromstring(written.encode())
    (suite,) = root
    cases = suite.findall("testcase")
    assert [each.get("name") for each in cases] == [check.name for check in verdict.checks]
    for each, check in zip(cases, verdict.checks, strict=True):
        expected = {"PASS": None, "ERROR": "error"}.get(check.status, "failure")
        found = [part for part in each if part.tag in {"failure", "error", "skipped"}]
        assert [part.tag for part in found] == ([] if expected is None else [expected])
        if found:
            assert found[0].get("type") == check.status
            assert check.reason in (found[0].text or "")
    failures, errors = len(suite.findall("testcase/failure")), len(suite.findall("testcase/error"))
    for element in (root, suite):
        told = [element.get(name) for name in ("tests", "failures", "errors", "skipped")]
        assert told == [str(len(cases)), str(failures), str(errors), "0"]
    assert (failures + errors == 0) is (verdict.status == "PASS")
    held = {each.get("name"): each.get("value") for each in suite.findall("properties/property")}
    assert held["camgate.model_digest"] == verdict.model_digest


def test_markdown_is_one_table_and_no_markup_of_others(case: tuple[AuditResult, Verdict]) -> None:
    result, verdict = case
    written = markdown(result, verdict)
    lines = written.splitlines()
    assert lines[0].endswith(f"camgate: {verdict.status}")
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == len(verdict.checks) + 2
    assert {line.replace("\\|", "").count("|") for line in table} == {8}
    assert sum(line.startswith("#") for line in lines) == 1
    for markup in ("<img", "](", "**bold", "@all", "\x1b"):
        assert markup not in written.replace("\\@all", "").replace("\\<img", "").replace("\\](", "")
    assert verdict.policy_digest[:12] in written


def test_a_failing_class_is_named() -> None:
    result = make_audit(activation=0.4, other=0.4)
    verdict = judge(result)
    assert "class cat" in markdown(result, verdict).replace("\\", "")
    assert "class cat" in junit(verdict)


def test_files_for_ci_lie_beside_those_of_another_policy(tmp_path: Path) -> None:
    result = make_audit()
    first, second = judge(result), judge(result, {"checks": {"accuracy": {"min": 0.5}}})
    write_summary(tmp_path, result, first)
    assert [path.name for path in write_for_ci(tmp_path, result, first)] == ["junit.xml", "summary.md"]
    mark = second.policy_digest[:12]
    write_summary(tmp_path, result, second)
    names = [path.name for path in write_for_ci(tmp_path, result, second)]
    assert names == [f"junit-{mark}.xml", f"summary-{mark}.md"]
    assert [path.name for path in write_for_ci(tmp_path, result, first)] == ["junit.xml", "summary.md"]
