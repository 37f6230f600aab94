"""The candidate as a test, before a merge: `python -m pytest --junitxml=junit.xml test_candidate.py`.

The environment may name another CANDIDATE (a folder, or `models:/pets/3` with MLFLOW_TRACKING_URI), other
DATA, POLICY or EVIDENCE (a new folder). On GitHub the summary becomes part of the run's page.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

CANDIDATE = os.environ.get("CANDIDATE", "model")
DATA = os.environ.get("DATA", "data")
POLICY = os.environ.get("POLICY", "policy.yaml")
EVIDENCE = Path(os.environ.get("EVIDENCE", "audit"))


def test_the_candidate_decides_on_valid_pixels(valid_activation: Callable[..., Any]) -> None:
    """PASS is the only verdict that lets it through."""
    try:
        valid_activation(CANDIDATE, DATA, POLICY, out=EVIDENCE)
    finally:
        publish(EVIDENCE / "summary.md")


def publish(summary: Path) -> None:
    """Append the summary to the page of a GitHub Actions run, where there is one."""
    page = os.environ.get("GITHUB_STEP_SUMMARY")
    if page and summary.is_file():
        with Path(page).open("a", encoding="utf-8") as stream:
            stream.write(summary.read_text(encoding="utf-8"))
