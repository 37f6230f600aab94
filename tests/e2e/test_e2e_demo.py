"""The demo, start to end, as a user runs it: full size, so only `make test-long` runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def demo(folder: Path, *options: str) -> list[dict[str, object]]:
    home = folder / "home"
    home.mkdir()
    run = subprocess.run(
        [sys.executable, "-m", "camgate.cli", "demo", "--workdir", "work", "--json", *options],
        cwd=folder,
        env={**os.environ, "HOME": str(home), "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert "Traceback" not in run.stderr
    # the user's own ZenML and MLflow settings are untouched
    assert not (home / ".config" / "zenml").exists()
    assert {path.name for path in folder.iterdir()} == {"home", "work"}
    rows: list[dict[str, object]] = json.loads(run.stdout)
    return rows


def check(rows: list[dict[str, object]]) -> None:
    biased, honest = rows
    assert (biased["verdict"], biased["validation_status"], biased["alias"]) == ("FAIL", "rejected", None)
    assert (honest["verdict"], honest["validation_status"], honest["alias"]) == (
        "PASS",
        "approved",
        "champion",
    )
    for row in rows:
        assert float(str(row["accuracy"])) >= 0.95
        assert Path(str(row["report"])).is_file()


@pytest.mark.long
@pytest.mark.timeout(1000)
def test_the_demo_blocks_the_biased_model_and_promotes_the_honest_one(tmp_path: Path) -> None:
    check(demo(tmp_path))


@pytest.mark.long
@pytest.mark.photos
@pytest.mark.timeout(1000)
def test_the_demo_on_photographs_tells_the_same_story(photos_root: Path, tmp_path: Path) -> None:
    check(demo(tmp_path, "--photos", "--video", str(photos_root / "walkway" / "vtest.avi")))
