"""Names that somebody else has chosen: classes, images, groups and slices, in page, terminal and tables."""

from __future__ import annotations

import io
import json
import logging
import os
import shutil
import subprocess
from contextlib import redirect_stdout
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
import typer
from PIL import Image

from audits_by_hand import make_audit
from camgate.audit.result import AuditResult
from camgate.cli import _finish
from camgate.data.manifest import validate_manifest
from camgate.data.reading import read_data
from camgate.errors import ManifestError
from camgate.gate.judge import judge
from camgate.gate.verdict import Verdict
from camgate.registry import names
from camgate.report.html import render_report
from camgate.terminal import log_plainly
from forked import camgate

NAMES = {
    "script": "<script>alert(1)</script>",
    "attribute": '"><img src=x onerror=alert(1)>',
    "single quotes": "' onmouseover='alert(1)",
    "link": "javascript:alert(1)",
    "ansi": "\x1b[2J\x1b[31mPASS",
    "title": "\x1b]0;owned\x07",
    "lines": "cat\r\n\nPASS\tok",
    "direction": "\u202egnp.tac\u202c",
    "template": "{{ 7*7 }}{% raw %}",
    "markup": "[bold red]cat[/]",
    "astral": "\U0001f408" * 40,
    "combining": "Z\u0351\u036b\u0343" * 60,
    "long": "c" * 5000,
    "markdown": "|a|b|\n|-|-|",
    "formula": "=cmd|' /C calc'!A0",
    "slashes": "../../a//b/.",
    "blank like": "NA",
}


class Page(HTMLParser):
    """What a browser would make of a page: elements, their attributes, their text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def named(name: str) -> AuditResult:
    """An audit of a bad model in which a class, an image, a group and a slice have that name."""
    result = make_audit(classes=(name, "dog"), activation=0.5, accuracy=0.7, slices=("time",))
    scores = result.scores.copy()
    scores.loc[0, ["image_id", "group"]] = name
    scores["time"] = [name if row % 2 else "day" for row in range(len(scores))]
    swaps = result.interventions
    assert swaps is not None
    swaps = swaps.assign(image_id=swaps["image_id"].replace({f"{name}-0": name}))
    return replace(result, scores=scores, interventions=swaps, warnings=(f"something about {name}",))


def judged(result: AuditResult) -> Verdict:
    return judge(
        result,
        {
            "critical_classes": [],
            "checks": {
                "accuracy": {"min": 0.9},
                "invalid_lift": {"max": 0.4},
                "invalid_activation": {"max": 0.3},
            },
        },
    )


@pytest.mark.parametrize("kind", NAMES)
def test_in_the_page_a_name_is_text(kind: str) -> None:
    honest = named("cat")
    expected = Page(render_report(honest, judged(honest)))
    result = named(NAMES[kind])
    page = render_report(result, judged(result))
    page.encode("utf-8")
    seen = Page(page)
    allowed = {tag for tag, _ in expected.elements}
    assert {tag for tag, _ in seen.elements} <= allowed
    assert [attributes for tag, attributes in seen.elements if tag == "script"] == [
        {"type": "application/json", "id": "rows"},
        {},
    ]
    for _, attributes in seen.elements:
        assert not [name for name in attributes if name.startswith("on")]
        assert not (attributes.get("href") or "#").startswith("javascript:")
        assert (attributes.get("src") or "data:").startswith("data:")
    assert not set(page) & set("\x1b\x07\r\u202e\u202c")
    if kind == "template":
        assert "{{ 7*7 }}{% raw %}" in seen.text


@pytest.mark.parametrize("kind", NAMES)
def test_in_the_terminal_a_name_controls_nothing(kind: str, tmp_path: Path) -> None:
    result = named(NAMES[kind])
    result.save(tmp_path / "audit")
    assert AuditResult.load(tmp_path / "audit").scores.loc[0, "image_id"] == NAMES[kind]
    verdict = judged(result)
    assert verdict.status in {"FAIL", "INCONCLUSIVE"}
    out = io.StringIO()
    with redirect_stdout(out), pytest.raises(typer.Exit):
        _finish(verdict, tmp_path / "report.html", False)
    told = out.getvalue()
    assert not set(told) & set("\x1b\x07\r\u202e\u202c")
    assert told.rstrip().splitlines()[-1].startswith(str(verdict.status))
    if kind == "markup":
        assert NAMES[kind] in told


@pytest.mark.parametrize("kind", NAMES)
def test_as_a_key_of_mlflow_a_name_is_harmless_and_its_own(kind: str) -> None:
    others = [names.key(f"audit/class/{name}/accuracy") for other, name in NAMES.items() if other != kind]
    key = names.key(f"audit/class/{NAMES[kind]}/accuracy")
    assert key not in others
    assert len(key) <= names.LONGEST_KEY
    assert key.isascii()
    assert key.isprintable()
    assert not {"..", "", "."} & set(key.split("/"))
    assert not set(key) & set("<>'\"\\{}[]|=:;")


def test_in_json_a_name_comes_back(tmp_path: Path) -> None:
    for name in NAMES.values():
        verdict = judged(named(name))
        assert Verdict.model_validate_json(verdict.to_json()).checks == verdict.checks
        assert json.loads(verdict.to_json())["status"] == verdict.status


def test_files_of_such_names_are_told_plainly(tmp_path: Path) -> None:
    """A missing file in a manifest, and an unreadable one: an error, a warning, no control character."""
    folder = tmp_path / "data"
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(folder / "a.png")
    (folder / "\x1b[31mred.png").write_bytes(b"no picture")

    def run(name: str) -> subprocess.CompletedProcess[str]:
        frame = pd.DataFrame({"image": ["a.png", name], "label": ["x", "\x1b[2Jy"]})
        frame.to_csv(folder / "manifest.csv", index=False)
        words = ["audit", "--model", "none", "--data", str(folder), "--out", str(tmp_path / "out")]
        return camgate(*words, cwd=tmp_path)

    missing = run("\x1b]0;owned\x07.png")
    assert missing.returncode == 2
    assert "\\x1b]0;owned\\x07.png: no such file" in missing.stderr
    unreadable = run("\x1b[31mred.png")
    assert "without a readable header" in unreadable.stderr
    for told in (missing, unreadable):
        assert not set(told.stdout + told.stderr) & set("\x1b\x07")
        assert "Traceback" not in told.stderr


def test_names_that_are_no_unicode_are_faults(tmp_path: Path) -> None:
    """Of files in another encoding, and from escapes in JSON."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    for place in (b"red/a\xff.png", b"re\xff/a.png"):
        folder = os.fsencode(tmp_path) + b"/set"
        os.makedirs(os.path.dirname(os.path.join(folder, place)))
        shutil.copy(os.fsencode(tmp_path) + b"/a.png", os.path.join(folder, place))
        with pytest.raises(ManifestError, match=r"\\udcff.* is no valid Unicode") as refused:
            read_data(tmp_path / "set")
        str(refused.value).encode()
        shutil.rmtree(folder)
    for image, category in (("a\udcff.png", "red"), ("a.png", "re\ud800d")):
        content = {
            "images": [{"id": 1, "file_name": image, "width": 8, "height": 8}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4], "iscrowd": 0}],
            "categories": [{"id": 1, "name": category}],
        }
        (tmp_path / "coco.json").write_text(json.dumps(content), encoding="ascii")
        with pytest.raises(ManifestError, match="is no valid Unicode") as refused:
            read_data(tmp_path / "coco.json")
        str(refused.value).encode()
    frame = pd.DataFrame({"image": pd.Series(["a\udcff.png"], dtype=object), "label": ["x"]})
    with pytest.raises(ManifestError, match="is no valid Unicode"):
        validate_manifest(frame, root=tmp_path)


def test_warnings_are_told_plainly_and_once(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("camgate")
    handlers, spread = list(logger.handlers), logger.propagate
    logger.handlers = []
    try:
        log_plainly()
        log_plainly()
        logging.getLogger("camgate.data").warning("a\x1b[31m %s", "b\u202e")
        assert len(logger.handlers) == 1
    finally:
        logger.handlers, logger.propagate = handlers, spread
    assert capsys.readouterr().err == "a\\x1b[31m b\\u202e\n"
