"""Real photographs through the pipeline: the honest network passes, the one that reads the place does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

STORY = """
import json, os, sys
from camgate.registry.connection import prepare_local_store
os.environ["MLFLOW_TRACKING_URI"] = prepare_local_store(sys.argv[2], "photos")
from camgate.pipelines import run_training
outcome = run_training(data=sys.argv[1], model_name="walkway", experiment="photos")
checks = {check.name: check.status.value for check in outcome.verdict.checks}
print(json.dumps({
    "status": outcome.verdict.status.value,
    "checks": checks,
    "accuracy": outcome.evaluation.accuracy,
    "moved": outcome.promotion.alias_moved,
    "validation": outcome.promotion.status,
    "sentence": outcome.verdict.sentence,
}))
"""


def run(data: Path, folder: Path) -> dict[str, object]:
    process = subprocess.run(
        [sys.executable, "-c", STORY, str(data), str(folder)],
        cwd=folder,
        env={
            **os.environ,
            "ZENML_CONFIG_PATH": str(folder / "zenml"),
            "ZENML_LOCAL_STORES_PATH": str(folder / "zenml" / "stores"),
            "ZENML_ANALYTICS_OPT_IN": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        },
        capture_output=True,
        text=True,
        timeout=560,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    answer: dict[str, object] = json.loads(process.stdout.splitlines()[-1])
    return answer


@pytest.mark.long  # each trains on hundreds of photographs
@pytest.mark.photos
def test_a_network_trained_on_walkway_passes_the_default_policy(photos_root: Path, tmp_path: Path) -> None:
    answer = run(photos_root / "walkway" / "manifest.csv", tmp_path)
    assert answer["status"] == "PASS", answer["sentence"]
    assert answer["validation"] == "approved"
    assert answer["moved"] is True


@pytest.mark.long  # each trains on hundreds of photographs
@pytest.mark.photos
def test_the_same_network_where_the_place_gives_the_class_away_is_as_accurate_and_blocked(
    photos_root: Path, tmp_path: Path
) -> None:
    answer = run(photos_root / "walkway_place" / "manifest.csv", tmp_path)
    assert float(str(answer["accuracy"])) >= 0.93
    assert answer["status"] == "FAIL", answer["sentence"]
    assert answer["validation"] == "rejected"
    assert answer["moved"] is False
    checks = answer["checks"]
    assert isinstance(checks, dict)
    assert checks["background_gap"] == "FAIL"
