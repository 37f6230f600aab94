"""The pieces of the page: words, numbers, classes, pictures, files."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from audits_by_hand import make_audit, make_large_audit
from camgate.audit.result import AuditResult, GalleryItem
from camgate.audit.summary import activation, background_gap
from camgate.errors import InputError
from camgate.gate.judge import judge
from camgate.gate.verdict import CheckResult, Finding, Status, Verdict
from camgate.report import checks, parts, sections, svg, text
from camgate.report.files import write_report, write_summary, write_verdict
from camgate.report.gallery import gallery
from camgate.report.html import render_report
from camgate.report.pictures import BUDGET, CELLS, OUTLINE, layers
from camgate.report.words import REASONS, reason_in_words


def with_pictures(result: AuditResult, *, count: int, side: int) -> AuditResult:
    """Noise, which hardly compresses, as the gallery."""
    rng = np.random.default_rng(0)
    region = np.zeros((side, side), dtype=bool)
    region[side // 4 : side // 2, side // 4 : side // 2] = True
    ids = result.scores["image_id"].astype(str).tolist()
    items = [
        GalleryItem(
            image_id=ids[(number * 7) % len(ids)],
            kind=kind,  # type: ignore[arg-type]
            rank=number,
            image=rng.integers(0, 255, (side, side, 3), dtype=np.uint8),
            heatmap=rng.random((7, 7)).astype(np.float32),
            region=region,
        )
        for kind in ("worst", "sample")
        for number in range(count)
    ]
    return replace(result, gallery=tuple(items))


def test_48_pictures_of_noise_stay_below_the_cap() -> None:
    result = with_pictures(make_audit(), count=24, side=224)
    page = render_report(result, judge(result))
    images = re.findall(r'href="(data:image/webp;base64,[^"]*)"', page)
    assert len(images) == 48
    assert len(page.encode()) < 5_000_000
    assert sum(map(len, images)) <= BUDGET


def decoded(source: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(source.split(",")[1])))


def test_a_picture_is_the_image_the_map_and_the_outline() -> None:
    image = np.full((64, 96, 3), (200, 30, 30), np.uint8)
    region = np.zeros((64, 96), bool)
    region[16:48, 24:72] = True
    heat = np.zeros((4, 6), np.float32)
    heat[1, 2], heat[3, 5] = 4.0, 1.0
    found = layers(image, heat, region, budget=10**6)
    assert (found.width, found.height) == (96, 64)
    assert np.abs(np.array(decoded(found.image).convert("RGB").getpixel((50, 30))) - (200, 30, 30)).max() < 12
    opacity = np.array(decoded(found.heat))[..., 3]
    assert opacity.shape == (4, 6)
    assert (opacity[1, 2], opacity[3, 5], opacity[0, 0]) == (255, 128, 0)
    corners = {tuple(map(float, pair.split())) for pair in found.outline.strip("MZ").split("L")}
    assert corners == {(24.5, 16.5), (24.5, 47.5), (71.5, 47.5), (71.5, 16.5)}


def test_a_ragged_region_and_a_fine_map_stay_small() -> None:
    rng = np.random.default_rng(0)
    noise, heat = rng.random((1024, 1024)) < 0.5, rng.random((200, 300)).astype(np.float32)
    noise[300:700, 300:700] = True
    found = layers(np.zeros((1024, 1024, 3), np.uint8), heat, noise, budget=10**6)
    assert 0 < len(found.outline) <= OUTLINE
    numbers = np.array(re.findall(r"[\d.]+", found.outline), dtype=float)
    assert numbers.min() < 80  # the border of what is large is still there
    assert numbers.max() > 170
    assert max(decoded(found.heat).size) == CELLS


def test_what_a_picture_lacks_has_no_layer() -> None:
    image = np.zeros((512, 256, 3), np.uint8)
    for heat in (None, np.zeros((4, 4), np.float32), np.full((4, 4), np.nan, np.float32)):
        found = layers(image, heat, np.zeros((512, 256), bool), budget=10**6)
        assert (found.heat, found.outline) == ("", "")
    assert (found.width, found.height) == (128, 256)


def test_cards_carry_their_own_numbers() -> None:
    result = with_pictures(make_audit(accuracy=0.5), count=6, side=32)
    rows = {str(row["image_id"]): row for row in result.scores.to_dict("records")}
    outcomes = set()
    shown = gallery(result)
    table = json.loads(shown.rows)["rows"]
    for card in (*shown.worst, *shown.sample):
        row = rows[card.image_id]
        assert card.label == row["label"]
        assert card.predicted == row["predicted"]
        assert card.correct is (row["label"] == row["predicted"])
        assert card.activation == f"{100 * row['invalid_activation']:.1f}\u00a0%"
        assert table[card.row][0] == card.image_id
        assert table[card.row][4] == pytest.approx(row["invalid_activation"], abs=1e-4)
        outcomes.add(card.correct)
    assert outcomes == {True, False}


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (0.3141, "percent", "31.4\u00a0%"),
        (-0.05, "points", "\u22125.0\u00a0points"),
        (0.4, "ratio", "0.40"),
        (-1e-9, "ratio", "0.00"),
        (float("nan"), "percent", "–"),
        (float("inf"), "ratio", "–"),
        (None, "points", "–"),
    ],
)
def test_numbers(value: Any, unit: Any, shown: str) -> None:
    assert text.number(value, unit) == shown


def test_times_are_told_to_the_minute() -> None:
    assert text.when("2026-11-27T19:43:51+01:00") == "2026-11-27 18:43 UTC"
    assert text.when("once") == "once"


def test_plain_shows_what_would_act() -> None:
    assert text.plain("a\n\x1b[31m\u202e\u2028\udcff") == "a\\n\\x1b[31m\\u202e\\u2028\\udcff"
    assert text.plain("naïve 100\u00a0% Ωмега 漢字 👩\u200d🔬") == "naïve 100\u00a0% Ωмега 漢字 👩\u200d🔬"


def test_every_reason_of_the_gate_has_words_and_others_stay() -> None:
    codes = [
        "ok",
        "above_limit",
        "below_limit",
        "straddles_limit",
        "too_small",
        "critical_class",
        "too_few_images",
        "too_few_groups",
        "low_coverage",
        "unreadable_images",
        "dead_maps",
        "composite_damage",
        "strongly_negative_gap",
        "settings_differ",
        "missing_class",
        "missing_region",
        "check_raised",
        "no_interventions",
        "not_measured",
        "no_checks",
        "seen_but_unused",
        "used_but_unseen",
        "use_undecided",
    ]
    assert set(codes) <= set(REASONS)
    assert reason_in_words("something_new") == "something_new"


def check(name: str, status: Status = Status.PASS, **values: Any) -> CheckResult:
    return CheckResult(name=name, status=status, reason=values.pop("reason", "ok"), message="said", **values)


def verdict_of(result: AuditResult, *found: CheckResult, status: Status = Status.PASS) -> Verdict:
    return judge(result).model_copy(update={"status": status, "checks": found, "reason": found[0].reason})


def test_the_failure_of_a_class_is_not_told_of_the_whole() -> None:
    numbers = {"value": 0.3, "high": 0.4, "limit": 0.35, "reason": "above_limit", "n": 100, "groups": 50}
    alone = checks.reason_of(check("invalid_lift", Status.FAIL, low=0.2, **numbers))
    whole = checks.reason_of(check("invalid_lift", Status.FAIL, low=0.36, **numbers))
    assert "of a class or slice" in alone
    assert "of a class or slice" not in whole


def test_classes_are_shown_worst_first_and_by_the_map_of_the_label() -> None:
    result = make_audit(classes=("ant", "bee", "cow", "dog"))
    scores = result.scores.copy()
    share = {"ant": 0.1, "bee": 0.2, "cow": 0.3, "dog": 0.65}
    scores["invalid_activation"] = 0.9  # the map of the predicted class must not enter
    scores["invalid_activation_label"] = scores["label"].map(share)
    scores.loc[scores["label"].eq("cow"), "status"] = "dead_map"
    finding = Finding(
        part="class ant",
        value=0.1,
        low=0.05,
        high=0.2,
        n=60,
        groups=20,
        status=Status.FAIL,
        reason="below_limit",
    )
    result = replace(result, scores=scores, interventions=None)
    table = parts.class_table(result, verdict_of(result, check("accuracy", parts=(finding,))))
    assert [row.name for row in table.rows] == ["ant", "dog", "bee", "cow"]
    assert [row.cells[1].value for row in table.rows] == ["10.0\u00a0%", "65.0\u00a0%", "20.0\u00a0%", "–"]
    assert table.rows[0].cells[0] == parts.Cell(
        "10.0\u00a0%", "5.0 to 20.0", Status.FAIL, reason_in_words("below_limit")
    )
    drawn = str(table.rows[1].spread)  # all its images have 65 %: one bar, and the mean without any width
    assert drawn.count("<rect") == 1
    assert '<rect class="bar" x="65%"' in drawn
    assert '<circle class="value" cx="65.00%"' in drawn
    assert '<line class="mark uniform" x1="50.00%"' in drawn
    assert table.rows[3].spread is None
    assert table.rows[1].cells[0].value == "100.0\u00a0%"  # no finding: the plain accuracy


def test_slices_have_numbers_and_intervals_whatever_the_policy_judges() -> None:
    result = make_audit(slices=("time",), per_class=60)
    night = np.arange(len(result.scores)) % 3 == 0
    scores = result.scores.assign(time=np.where(night, "night", "day"))
    scores.loc[night, "invalid_activation_label"] += 0.3
    result = replace(result, scores=scores)
    table = parts.slice_table(result, verdict_of(result, check("coverage")))
    assert table is not None
    assert [row.name for row in table.rows] == ["time night", "time day"]
    for row, rows in zip(table.rows, (night, ~night), strict=True):
        found = activation(result, np.flatnonzero(rows))
        assert row.cells[1] == parts.Cell(
            text.number(found.value, "percent"), text.interval(found.low, found.high, "percent")
        )
        assert row.cells[0].interval
        assert row.n == row.scored == str(rows.sum())
        low, high = (f'x{end}="{svg.percent(bound)}"' for end, bound in ((1, found.low), (2, found.high)))
        assert f'<line class="span" {low} {high}' in str(row.spread)
    assert parts.slice_table(make_audit(), judge(make_audit())) is None


@pytest.mark.parametrize("with_check", [True, False])
def test_the_causal_section_says_what_the_arms_say(with_check: bool) -> None:
    result = make_audit(other=0.6)
    verdict = judge(result) if with_check else verdict_of(result, check("accuracy"))
    found, gap = sections.causal(result, verdict), background_gap(result)
    assert found is not None
    assert gap is not None
    assert [bar.value for bar in found.bars] == [
        text.number(share, "percent") for share in (gap.original, gap.same_class, gap.other_class)
    ]
    assert f"loses {100 * gap.estimate.value:.1f}\u00a0points" in found.sentence
    assert text.interval(gap.estimate.low, gap.estimate.high, "points") in found.sentence


def test_without_swapped_backgrounds_the_page_says_so() -> None:
    result = make_audit(interventions=False)
    assert sections.causal(result, verdict_of(result, check("accuracy"))) is None
    assert "No background was swapped" in render_report(result, verdict_of(result, check("accuracy")))


def test_unreadable_images_are_named_up_to_twenty() -> None:
    result = make_audit()
    scores = result.scores.copy()
    scores.loc[:24, "status"] = "unreadable"
    names, more = sections.unreadable(replace(result, scores=scores))
    assert names == tuple(scores["image_id"].head(20))
    assert more == 5


def test_a_verdict_is_never_replaced_by_another(tmp_path: Path) -> None:
    result = make_audit()
    first = judge(result)
    later = first.model_copy(update={"created": "2030-01-01T00:00:00+00:00"})
    assert write_verdict(tmp_path, first) == write_verdict(tmp_path, later) == tmp_path / "verdict.json"
    assert Verdict.model_validate_json((tmp_path / "verdict.json").read_text(encoding="utf-8")) == first
    # same policy, another outcome; then another policy
    changed = first.model_copy(update={"sentence": "Another champion."})
    foreign = first.model_copy(update={"policy_digest": "d" * 64})
    paths = [write_verdict(tmp_path, verdict) for verdict in (changed, foreign, changed, foreign)]
    assert paths[:2] == paths[2:]
    assert paths[1].name == f"verdict-{'d' * 12}.json"
    assert len({"verdict.json", *(path.name for path in paths)}) == 3
    for verdict, path in ((changed, paths[0]), (foreign, paths[1])):
        assert write_report(tmp_path, result, verdict).name == path.name.replace("verdict", "report").replace(
            "json", "html"
        )
        assert write_summary(tmp_path, result, verdict).name == path.name.replace("verdict", "summary")


def test_a_report_alone_already_holds_its_name(tmp_path: Path) -> None:
    result = make_audit()
    first = judge(result)
    other = first.model_copy(update={"policy_digest": "d" * 64})
    write_report(tmp_path, result, first)
    kept = (tmp_path / "report.html").read_bytes()
    assert write_verdict(tmp_path, other).name == f"verdict-{'d' * 12}.json"
    assert (tmp_path / "report.html").read_bytes() == kept
    assert write_verdict(tmp_path, first).name == "verdict.json"


def test_a_damaged_verdict_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "verdict.json").write_text("{", encoding="utf-8")
    assert write_verdict(tmp_path, judge(make_audit())).name != "verdict.json"
    assert (tmp_path / "verdict.json").read_text(encoding="utf-8") == "{"


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a folder"):
        write_verdict(tmp_path / "none", judge(make_audit()))


def driven(page: str, script: str, folder: Path, *flags: str) -> str:
    """The page as a browser has it after `script`."""
    # The page's own content policy would, rightly, refuse the script that drives it.
    head, tail = page.split("<meta http-equiv", 1)
    page = head + tail.split(">", 1)[1].replace("</body>", script + "</body>")
    (folder / "report.html").write_text(page, encoding="utf-8")
    always = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync --dump-dom"
    )
    profile = f"--user-data-dir={folder / 'p'}"
    run = subprocess.run(
        ["chromium", *always.split(), profile, *flags, (folder / "report.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    return run.stdout


WIDTHS = """<script>
const all = document.documentElement;
document.body.dataset.fits = all.scrollWidth <= window.innerWidth && window.innerWidth < 600;
</script>"""


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on this machine")
def test_no_table_makes_the_page_wider_than_a_narrow_window(tmp_path: Path) -> None:
    result = make_audit(accuracy=0.9, spread=0.2, activation=0.5)
    page = render_report(result, judge(result))
    assert 'data-fits="true"' in driven(page, WIDTHS, tmp_path, "--window-size=500,900")


SIX = {
    "accuracy": {"min": 0.85},
    "invalid_activation": {"max": 0.2},
    "invalid_lift": {"max": 0.4},
    "peak_invalid": {"max": 0.1},
    "background_gap": {"max": 0.1},
    "champion": {"max": 0.1},
}


def wide_audit() -> AuditResult:
    """Sixty classes with long names; eight of them bad, and two recipients a class."""
    result = make_large_audit(60, 1800, bad=8, recipients=120)
    names = {name: f"{name} of a rather long-winded kind" for name in result.classes}
    scores = result.scores.replace({"label": names, "predicted": names})
    return replace(result, classes=tuple(names.values()), scores=scores)


PRINTED = """<script>
for (const fold of document.querySelectorAll("details")) fold.open = true;
const tables = [...document.querySelectorAll("table")].filter((table) => table.offsetParent);
const inside = (table) => table.scrollWidth <= table.parentElement.clientWidth;
document.body.dataset.inside = tables.filter(inside).length + " of " + tables.length;
</script>"""


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on this machine")
def test_tables_of_six_checks_stay_on_the_printed_page(tmp_path: Path) -> None:
    result = wide_audit()
    page = render_report(result, judge(result, {"checks": SIX}, champion=result))
    # 718 px is the width of A4 inside the browser's margins; the rules for print are made those of the screen
    shown = driven(page.replace("@media print", "@media all"), PRINTED, tmp_path, "--window-size=718,1000")
    assert 'data-inside="4 of 4"' in shown


def test_the_page_says_where_only_the_pooled_value_decides() -> None:
    result = wide_audit()
    verdict = judge(result, {"checks": SIX}, champion=result)
    gap = verdict.check("background_gap")
    assert gap is not None
    small = sum(part.reason == "too_small" for part in gap.parts)
    assert small > 30
    (note,) = parts.class_table(result, verdict).notes
    assert note.startswith(
        f"Background gap: {small} of {len(gap.parts)} classes have too few images or groups"
    )
    assert note in render_report(result, verdict)
    enough = make_audit(per_class=200, groups=50)
    assert parts.class_table(enough, judge(enough)).notes == ()


def test_the_terminal_names_the_worst_and_counts_the_rest() -> None:
    result = wide_audit()
    lines = dict(
        line.split(": ", 1) for line in text.part_lines(judge(result, {"checks": SIX}, champion=result))
    )
    shares = result.scores.groupby("label")["invalid_activation_label"].mean().sort_values(ascending=False)
    worst, share = shares.index[0], shares.iloc[0]
    assert lines["invalid_activation"].startswith(f"worst class {worst} ({share:.3f} FAIL), class ")
    assert lines["invalid_activation"].count("FAIL") == text.NAMED
    assert lines["invalid_activation"].endswith(" and 3 more")
    said = (
        r"(\d+) of \d+ classes and slices are too small to judge alone, there only the pooled value decides"
    )
    found = re.fullmatch(said, lines["background_gap"])
    assert found is not None
    assert int(found[1]) > 30
    assert "accuracy" not in lines  # passes: nothing to say
    clean = make_audit(per_class=200, groups=50)
    assert text.part_lines(judge(clean)) == []


def test_the_terminal_shows_hostile_names_as_text() -> None:
    result = make_audit(classes=("cat\x1b[31m", "dog"), activation=0.5)
    (line,) = text.part_lines(judge(result, {"checks": {"invalid_lift": {"max": 0.4}}}))
    assert line.isprintable()
    assert "class cat\\x1b[31m (" in line


FIND = """<script>
const box = document.getElementById("find-class");
const rows = [...document.querySelectorAll("#folded-classes tbody tr")];
const visible = () => rows.filter(row => !row.hidden).length;
const before = visible();
box.value = rows[70].querySelector("th").textContent.trim().toUpperCase();
box.dispatchEvent(new Event("input"));
document.body.dataset.found = [box.parentElement.hidden, before, visible(), rows[70].hidden].join(" ");
</script>"""


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on this machine")
def test_a_class_among_hundreds_is_found_by_typing(tmp_path: Path) -> None:
    result = make_large_audit(200, 2000, groups_per_class=5)
    page = write_report(tmp_path, result, judge(result)).read_text(encoding="utf-8")
    shown = 200 - page.split('id="folded-classes"', 1)[1].split("</details>", 1)[0].count('<th scope="row">')
    assert 0 < shown <= 30
    found = driven(page, FIND, tmp_path)
    assert f'data-found="false {200 - shown} 1 false"' in found
