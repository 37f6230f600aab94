"""The continuous audit, for real: the champion on fresh images, in control, drifting, and tampered with."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from PIL import Image
from pipelines_data import AUDIT, LENIENT, SIDE, TRAINING, write_images
from zenml.client import Client

from camgate.errors import RegistryError
from camgate.gate.verdict import Status
from camgate.pipelines import MonitoringOutcome, run_monitoring, run_training

COLOURS = {"blue": (40, 60, 220), "red": (220, 60, 40)}


def monitor(data: Path) -> MonitoringOutcome:
    return run_monitoring(
        data=str(data),
        model_name="squares",
        policy=LENIENT,
        audit=AUDIT,
        charts={"baseline": 2},
        notify={"folder": "told", "kinds": ["alarm", "unverified", "error", "in_control"]},
    )


def told() -> list[str]:
    return [json.loads(file.read_text())["kind"] for file in sorted(Path("told").glob("*.json"))]


def with_decoys(data: Path) -> Path:
    """A second square of the same colour in each image, which no mask covers."""
    for file in sorted(data.parent.glob("images/test-*.png")):
        mask = np.asarray(Image.open(data.parent / "masks" / file.name)) > 0
        image = np.array(Image.open(file))
        rows, columns = np.nonzero(mask)
        top = 0 if rows.min() > SIDE / 3 else SIDE - 12
        left = 0 if columns.min() > SIDE / 3 else SIDE - 12
        decoy = np.zeros_like(mask)
        decoy[top : top + 12, left : left + 12] = True
        image[decoy & ~mask] = COLOURS[file.name.split("-")[1]]
        Image.fromarray(image).save(file)
    return data


@pytest.mark.usefixtures("stores")
def test_a_champion_in_control_then_drifting_then_tampered_with(squares: Path, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="squares"):
        monitor(squares)
    assert told() == ["error"]
    run_training(data=str(squares), policy=LENIENT, model_name="squares", training=TRAINING, audit=AUDIT)

    first = monitor(squares)
    assert first.watched is not None
    assert (first.action, first.watched.status, first.exit_code) == ("audit", "baseline", 0)
    assert first.watch.proof is Status.INCONCLUSIVE, "no key has signed"
    again = monitor(squares)
    assert (again.action, again.watched, again.exit_code) == ("nothing_new", None, 0)
    assert "audited on these images already" in again.sentence

    monitor(write_images(tmp_path / "two", train=1, seed=1))
    third = monitor(write_images(tmp_path / "three", train=1, seed=2))
    assert third.watched is not None
    assert (third.watched.status, third.watched.audits, third.exit_code) == ("in_control", 3, 0)
    assert Client().get_pipeline_run(third.pipeline_run_id).status == "completed"

    drifted = monitor(with_decoys(write_images(tmp_path / "decoys", train=1, seed=3)))
    assert drifted.watched is not None
    assert (drifted.watched.status, drifted.exit_code) == ("alarm", 1)
    assert "invalid activation, overall" in drifted.watched.alarms
    assert "squares v1 drifts: " in drifted.sentence
    assert Client().get_pipeline_run(drifted.pipeline_run_id).status == "failed"
    assert told() == ["error", "in_control", "in_control", "in_control", "alarm"]
    repeated = monitor(tmp_path / "decoys" / "manifest.csv")
    assert (repeated.action, repeated.exit_code) == ("nothing_new", 1), "no green light by asking again"
    message = json.loads(sorted(Path("told").glob("*-alarm.json"))[0].read_text())
    assert {"MLflow run", "report", "worst picture", "control charts"} == set(message["links"])

    client = MlflowClient()
    series = drifted.watched.run_id
    history = client.get_metric_history(series, "monitor/invalid_activation/overall")
    assert [metric.step for metric in history] == [1, 2, 3, 4]
    assert (
        history[-1].value
        > client.get_metric_history(series, "monitor/invalid_activation/overall/limit")[-1].value
    )
    page = Path(message["links"]["control charts"]).read_text(encoding="utf-8")
    assert page.count('<svg class="plot control"') == 6, "two measures of the whole and of two classes"
    assert "value out" in page

    client.set_model_version_tag("squares", "1", "camgate.data_digest", "0" * 64)
    tampered = monitor(write_images(tmp_path / "four", train=1, seed=4))
    assert (tampered.action, tampered.exit_code, tampered.watched) == ("unverified", 1, None)
    assert "tags contradict the statement" in tampered.sentence
    assert told()[-1] == "unverified"
