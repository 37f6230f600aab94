"""The page: complete for every verdict, self-contained, and names stay text."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from audits_by_hand import make_audit
from camgate.audit.result import AuditResult, GalleryItem
from camgate.errors import InputError
from camgate.gate.judge import judge
from camgate.report.files import write_report, write_summary, write_verdict
from camgate.report.html import render_report

HOSTILE = '<script>alert("x")</script>\n\x1b[31m\u202e&'


def pictured(result: AuditResult, count: int = 4) -> AuditResult:
    rng = np.random.default_rng(0)
    items = []
    for kind in ("worst", "sample"):
        for rank in range(count):
            region = np.zeros((64, 64), dtype=bool)
            region[20:40, 20:40] = True
            items.append(
                GalleryItem(
                    image_id=str(result.scores["image_id"].iloc[rank]),
                    kind=kind,  # type: ignore[arg-type]
                    rank=rank,
                    image=rng.integers(0, 255, (64, 64, 3), dtype=np.uint8),
                    heatmap=rng.random((8, 8)).astype(np.float32) * (rank > 0),
                    region=region,
                )
            )
    return replace(result, gallery=tuple(items))


CASES = {
    "PASS": (make_audit(), None),
    "FAIL": (make_audit(activation=0.4, other=0.4), None),
    "INCONCLUSIVE": (make_audit(per_class=20), None),
    "ERROR": (make_audit(seed=3), None),
}


@pytest.mark.parametrize("status", sorted(CASES))
def test_every_verdict_has_a_complete_page(status: str) -> None:
    result = pictured(CASES[status][0])
    verdict = judge(result)
    assert verdict.status.value == status
    page = render_report(result, verdict)
    text = re.sub(r"<[^>]+>", "", page).replace("&#39;", "'")
    assert verdict.sentence.split(":")[0] in text
    for word in ("Checks", "Classes", "Gallery", "cannot see", result.model_digest, verdict.policy_digest):
        assert word in page
    for check in verdict.checks:
        assert check.reason == "ok" or check.reason in page


def test_nothing_is_loaded_from_anywhere() -> None:
    page = render_report(pictured(CASES["FAIL"][0]), judge(CASES["FAIL"][0]))
    sources = re.findall(r'(?:src|href)\s*=\s*"([^"]*)"', page) + re.findall(r"url\(([^)]*)\)", page)
    assert sources
    assert all(source.strip("'\"").startswith(("data:", "#")) for source in sources)
    assert "@import" not in page


def test_hostile_names_stay_text() -> None:
    result = make_audit(classes=(HOSTILE, "dog"))
    result = pictured(replace(result, warnings=(HOSTILE,)))
    page = render_report(result, judge(result), title=HOSTILE)
    assert '<script>alert("x")' not in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "&lt;script&gt;" in page


def test_the_page_survives_what_is_missing() -> None:
    bare = make_audit(interventions=False)
    blank = bare.scores.assign(
        status="dead_map", invalid_activation=np.nan, invalid_activation_label=np.nan, invalid_lift=np.nan
    )
    for result in (bare, replace(bare, scores=blank), replace(bare, baselines={"uniform": float("nan")})):
        assert "</html>" in render_report(result, judge(result))


def test_a_thousand_classes_are_folded_and_the_page_stays_small() -> None:
    labels = tuple(f"class-{number:04d}" for number in range(1000))
    scores = pd.DataFrame(
        {
            "image_id": [f"{label}-{k}" for label in labels for k in range(2)],
            "label": [label for label in labels for _ in range(2)],
            "status": "ok",
            "group": [str(k) for k in range(2000)],
            "split": "test",
            "confidence": 0.9,
            "invalid_activation": 0.1,
            "invalid_area": 0.5,
            "invalid_area_raw": 0.8,
            "invalid_lift": 0.2,
            "peak_invalid": 0.0,
        }
    )
    scores["predicted"] = scores["target"] = scores["label"]
    scores["invalid_activation_label"] = scores["invalid_activation"]
    result = replace(make_audit(interventions=False), classes=labels, scores=scores)
    verdict = judge(result, {"audit": {"interventions": False}, "checks": {"accuracy": {"min": 0.5}}})
    page = render_report(result, verdict)
    assert len(page) < 2_000_000
    assert "<details" in page
    assert "class-0999" in page


def test_a_verdict_of_another_audit_is_refused() -> None:
    with pytest.raises(InputError, match="another audit"):
        render_report(replace(make_audit(), model_digest="c" * 64), judge(make_audit()))


def test_files_of_two_policies_live_side_by_side(tmp_path: Path) -> None:
    result = pictured(make_audit())
    first, second = judge(result), judge(result, {"checks": {"accuracy": {"min": 0.5}}})
    assert write_verdict(tmp_path, first).name == "verdict.json"
    assert write_report(tmp_path, result, first).name == "report.html"
    before = (tmp_path / "verdict.json").read_bytes()
    other = write_verdict(tmp_path, second)
    assert other.name != "verdict.json"
    assert write_report(tmp_path, result, second).name != "report.html"
    assert (tmp_path / "verdict.json").read_bytes() == before
    summary = json.loads(write_summary(tmp_path, result, first).read_text(encoding="utf-8"))
    assert "PASS" in json.dumps(summary)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on this machine")
def test_the_page_runs_in_a_real_browser(tmp_path: Path) -> None:
    result = pictured(CASES["FAIL"][0])
    page = tmp_path / "report.html"
    page.write_text(render_report(result, judge(result)), encoding="utf-8")
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync --enable-logging=stderr --dump-dom"
    )
    run = subprocess.run(
        ["chromium", *flags.split(), f"--user-data-dir={tmp_path / 'profile'}", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "Blocked" in run.stdout
    # written by the script: the number of pictures shown
    assert re.search(r"8\s+(?:of\s+8\s+)?shown|8 of 8", run.stdout)
    assert "CONSOLE" not in run.stderr, run.stderr
