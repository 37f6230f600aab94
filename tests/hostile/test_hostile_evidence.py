"""An audit folder that somebody has edited."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from audits_by_hand import make_audit
from camgate.audit.result import AuditResult
from camgate.cli import app
from camgate.errors import InputError
from camgate.gate.judge import judge
from camgate.gate.policy import Policy
from camgate.report.files import write_report, write_verdict

BIASED = {"activation": 0.45, "other": 0.4}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A biased model's audit with its verdict."""
    result = make_audit(**BIASED)  # type: ignore[arg-type]
    result.save(tmp_path / "audit")
    verdict = judge(result)
    assert verdict.status == "FAIL"
    write_verdict(tmp_path / "audit", verdict)
    return tmp_path / "audit"


def better_scores(folder: Path) -> None:
    scores = pd.read_parquet(folder / "scores.parquet")
    for column in ("invalid_activation", "invalid_activation_label", "invalid_lift"):
        scores[column] = 0.01
    scores.to_parquet(folder / "scores.parquet", index=False)


def fewer_rows(folder: Path) -> None:
    pd.read_parquet(folder / "scores.parquet").iloc[:-1].to_parquet(folder / "scores.parquet", index=False)


def better_swaps(folder: Path) -> None:
    good = make_audit().interventions
    assert good is not None
    good.to_parquet(folder / "interventions.parquet", index=False)


def scores_of_another(folder: Path) -> None:
    make_audit().scores.to_parquet(folder / "scores.parquet", index=False)


@pytest.mark.parametrize("tamper", [better_scores, fewer_rows, better_swaps, scores_of_another])
def test_tables_that_are_not_the_audits(tamper: Callable[[Path], None], folder: Path) -> None:
    tamper(folder)
    with pytest.raises(InputError, match="is not what this audit wrote"):
        AuditResult.load(folder)
    run = CliRunner().invoke(app, ["gate", "--audit", str(folder)])
    assert isinstance(run.exception, InputError)


def test_a_folder_from_before_the_digest_still_loads(folder: Path) -> None:
    meta = json.loads((folder / "audit.json").read_text(encoding="utf-8"))
    del meta["scores_digest"]
    (folder / "audit.json").write_text(json.dumps(meta), encoding="utf-8")
    assert AuditResult.load(folder).model_digest == "a" * 64


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PAR1 and nothing more PAR1",
        b"\x00" * 4096,
    ],
)
@pytest.mark.parametrize("name", ["scores.parquet", "interventions.parquet", "heatmaps/gallery.npz"])
def test_damaged_files_are_named_as_damaged(name: str, content: bytes, folder: Path) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        AuditResult.load(folder)


def test_a_verdict_of_another_audit_is_not_reported(folder: Path) -> None:
    other = judge(replace(make_audit(), model_digest="c" * 64))
    (folder / "verdict.json").write_text(other.to_json(), encoding="utf-8")
    run = CliRunner().invoke(app, ["report", "--audit", str(folder)])
    assert isinstance(run.exception, InputError)
    assert "belongs to another audit" in str(run.exception)
    with pytest.raises(InputError, match="belongs to another audit"):
        write_report(folder, AuditResult.load(folder), other)


def test_a_verdict_that_was_edited_decides_nothing(folder: Path) -> None:
    """`camgate gate` judges the numbers anew, whatever verdict.json says."""
    held = json.loads((folder / "verdict.json").read_text(encoding="utf-8"))
    held |= {"status": "PASS", "reason": "ok"}
    (folder / "verdict.json").write_text(json.dumps(held), encoding="utf-8")
    run = CliRunner().invoke(app, ["gate", "--audit", str(folder), "--json"])
    assert run.exit_code == 1
    assert json.loads(run.output)["status"] == "FAIL"


def test_a_policy_that_was_edited_has_another_digest(tmp_path: Path) -> None:
    """Which is why a pinned policy (`camgate pin-policy`) promotes nothing that a laxer one has passed."""
    file = tmp_path / "policy.yaml"
    file.write_text(Policy.default().to_yaml(), encoding="utf-8")
    assert Policy.load(file).digest() == Policy.default().digest()
    file.write_text(file.read_text(encoding="utf-8").replace("max: 0.4", "max: 0.9"), encoding="utf-8")
    assert Policy.load(file).digest() != Policy.default().digest()


def test_settings_that_were_edited_are_another_exam(folder: Path) -> None:
    meta = json.loads((folder / "audit.json").read_text(encoding="utf-8"))
    meta["settings"]["seed"] += 1
    (folder / "audit.json").write_text(json.dumps(meta), encoding="utf-8")
    verdict = judge(AuditResult.load(folder))
    assert (verdict.status, verdict.reason) == ("ERROR", "settings_differ")
