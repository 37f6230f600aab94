"""The seven requirements: all of them, nothing that was not measured, and names that stay text."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from audits_by_hand import make_audit
from camgate.gate.judge import judge
from camgate.report.files import write_trustworthy
from camgate.report.html import render_report
from camgate.report.requirements import REQUIREMENTS
from camgate.report.trustworthy import TrustworthyEvidence, trustworthy_evidence

KEYS = [
    "human_agency_and_oversight",
    "technical_robustness_and_safety",
    "privacy_and_data_governance",
    "transparency",
    "diversity_non_discrimination_and_fairness",
    "societal_and_environmental_wellbeing",
    "accountability",
]


def said(found: TrustworthyEvidence, key: str) -> str:
    (one,) = [each for each in found.requirements if each.key == key]
    return " ".join(each.said for each in one.contributes)


def test_all_seven_each_with_evidence_gaps_questions_and_articles() -> None:
    found = trustworthy_evidence(make_audit(), judge(make_audit()))
    assert [each.key for each in found.requirements] == KEYS == [each.key for each in REQUIREMENTS]
    for each in found.requirements:
        assert each.contributes
        assert each.missing
        assert all(question.endswith("?") for question in each.questions)
        assert all(re.match(r"(Article|Recital) \d+ \(", article) for article in each.articles)
    cited = {
        int(number) for each in REQUIREMENTS for number in re.findall(r"Article (\d+)", str(each.articles))
    }
    assert {9, 10, 11, 12, 13, 14, 15} <= cited


def test_numbers_are_those_of_the_verdict() -> None:
    result = make_audit(activation=0.4, other=0.4)
    verdict = judge(result)
    robust = said(trustworthy_evidence(result, verdict), "technical_robustness_and_safety")
    for name in ("accuracy", "invalid_lift", "background_gap", "background_flips"):
        check = verdict.check(name)
        assert check is not None
        assert check.message[1:] in robust
        assert str(check.status) in robust
    fair = said(trustworthy_evidence(result, verdict), "diversity_non_discrimination_and_fairness")
    assert "2 classes were judged apart; these fail: class cat, class dog." in fair


def test_what_was_not_done_is_said_to_be_not_done() -> None:
    result = make_audit(interventions=False, sanity=None)
    verdict = judge(result, {"checks": {"accuracy": {"min": 0.5}}, "sanity": {"required": False}})
    found = trustworthy_evidence(result, verdict)
    robust = said(found, "technical_robustness_and_safety")
    assert "No background was swapped" in robust
    assert "Invalid lift: not judged by this policy." in robust
    assert "No drill" in robust
    assert "was not tested" in said(found, "transparency")
    assert "No slices were judged apart." in said(found, "diversity_non_discrimination_and_fairness")
    assert "No picture was kept" in said(found, "human_agency_and_oversight")
    alone = replace(result, scores=result.scores.assign(group=range(len(result.scores))))
    governed = said(trustworthy_evidence(alone, verdict), "privacy_and_data_governance")
    assert "each counts as independent" in governed


@pytest.mark.parametrize("status", ["PASS", "FAIL", "INCONCLUSIVE", "ERROR"])
def test_files_and_section_say_the_same(status: str, tmp_path: Path) -> None:
    result = {
        "PASS": make_audit(),
        "FAIL": make_audit(activation=0.4, other=0.4, classes=("<b>|cat", "dog")),
        "INCONCLUSIVE": make_audit(per_class=20),
        "ERROR": make_audit(seed=3),
    }[status]
    verdict = judge(result)
    assert verdict.status == status
    markdown, written = write_trustworthy(tmp_path, result, verdict)
    content = json.loads(written.read_text(encoding="utf-8"))
    assert [each["key"] for each in content["requirements"]] == KEYS
    text = markdown.read_text(encoding="utf-8")
    assert "<b>" not in text.replace("\\<b", "")
    page = render_report(result, verdict)
    anchors = set(re.findall(r' id="([a-z-]+)"', page))
    for each in content["requirements"]:
        assert f"## {each['title']}" in text
        assert each["title"].replace("'", "&#39;") in page
        for one in each["contributes"]:
            assert one["section"] in anchors
    assert text.count("- [ ] ") == sum(len(each["questions"]) for each in content["requirements"])
    for _, url in content["sources"]:
        assert f"<{url}>" in text
