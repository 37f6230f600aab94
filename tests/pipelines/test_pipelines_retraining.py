"""Retraining, for real: scenes that drift, the same data twice, others at work, and what people are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient
from PIL import Image, ImageEnhance
from pipelines_data import AUDIT, LENIENT, STRICT, TRAINING, write_images
from zenml.client import Client

from camgate.errors import InputError, ManifestError
from camgate.gate.verdict import Status
from camgate.pipelines import RetrainingOutcome, run_retraining
from camgate.registry.history import alias_history
from camgate.registry.retraining import KEY, end_turn, take_turn
from camgate.registry.runs import open_run
from camgate.scenes.dataset import write_scenes

SCENE = 48
POLICY = {
    "audit": {"draws": 2, "min_images": 30},
    "coverage": {"overall": 0.0, "per_class": 0.0},
    "sanity": {"required": False},
    "checks": {"background_gap": {"max": 0.35}, "champion": {"max": 0.5, "max_accuracy_loss": 0.5}},
}
SCENES = {
    "epochs": 6,
    "batch_size": 16,
    "learning_rate": 3e-3,
    "preprocessing": {"size": [SCENE, SCENE]},
}


def retrain(data: Path, policy: dict[str, Any] = LENIENT, **options: Any) -> RetrainingOutcome:
    given = {
        "training": TRAINING | {"epochs": 1},
        "model_name": "squares",
        "notify": {"folder": "told"},
    } | options
    return run_retraining(data=str(data), policy=policy, audit=AUDIT, **given)


def versions(name: str = "squares") -> list[Any]:
    return list(MlflowClient().search_model_versions(f"name = '{name}'"))


def champion(name: str = "squares") -> int:
    return int(MlflowClient().get_model_version_by_alias(name, "champion").version)


def told(folder: str = "told") -> list[dict[str, Any]]:
    """The messages, the oldest first."""
    return [json.loads(file.read_text()) for file in sorted(Path(folder).glob("*.json"))]


def steps_of(outcome: RetrainingOutcome) -> set[str]:
    return set(Client().get_pipeline_run(outcome.pipeline_run_id).steps)


def scenes(folder: Path, *, bias: float, seed: int, dark: bool = False) -> Path:
    """A patch in the corner that goes with the class, or does not; at night everything is darker."""
    write_scenes(
        folder,
        per_class={"train": 36, "validation": 4, "test": 20},
        shortcut="corner_patch",
        strength=bias,
        seed=seed,
        size=SCENE,
        coco=False,
    )
    for file in folder.rglob("images/**/*.jpg") if dark else ():
        ImageEnhance.Brightness(Image.open(file)).enhance(0.6).save(file, quality=95)
    return folder / "manifest.csv"


@pytest.mark.usefixtures("stores")
def test_three_retrainings_good_biased_and_good_again(tmp_path: Path) -> None:
    options = {"training": SCENES, "model_name": "underpass"}
    first = retrain(scenes(tmp_path / "day", bias=0.0, seed=0), POLICY, **options)
    assert (first.verdict, first.promoted, first.version, first.exit_code) == (Status.PASS, True, 1, 0)
    assert first.plan.drift is not None
    assert first.plan.drift.status == "no_reference"

    biased = retrain(scenes(tmp_path / "biased", bias=1.0, seed=1), POLICY, **options)
    assert (biased.verdict, biased.promoted, biased.version, biased.exit_code) == (Status.FAIL, False, 2, 1)
    assert champion("underpass") == 1
    assert Client().get_pipeline_run(biased.pipeline_run_id).status == "failed"
    assert biased.plan.drift is not None
    assert biased.plan.drift.status == "same", "whether a patch goes with the class shows in no statistic"

    night = retrain(scenes(tmp_path / "night", bias=0.0, seed=2, dark=True), POLICY, **options)
    assert (night.verdict, night.promoted, night.version, night.exit_code) == (Status.PASS, True, 3, 0)
    assert champion("underpass") == 3
    assert night.plan.drift is not None
    assert "brightness of the pictures" in night.plan.drift.sentence

    assert [message["kind"] for message in told()] == ["promoted", "blocked", "promoted"]
    assert "background_gap" in told()[1]["sentence"] or "background" in told()[1]["sentence"]
    assert any("drifted" in note for note in told()[2]["notes"])
    for message in told():
        assert Path(message["links"]["report"]).is_file()
        for picture in (message["links"]["worst picture"], Path("told", message["picture"])):
            with Image.open(picture) as shown:
                assert shown.width > 2 * SCENE
    run = MlflowClient().get_run(str(night.mlflow_run_id))
    assert run.data.metrics["drift/brightness"] > 0.3
    assert run.data.tags["camgate.champion"] == "underpass/1"


@pytest.mark.usefixtures("stores")
def test_the_same_data_and_code_give_the_same_decision_and_no_second_version(squares: Path) -> None:
    first = retrain(squares)
    assert (first.action, first.verdict, first.promoted) == ("train", Status.PASS, True)
    again = retrain(squares)
    assert (again.action, again.verdict, again.version) == ("nothing_new", Status.PASS, 1)
    assert again.sentence.startswith("Nothing new: version 1 of squares was made of the same data and code")
    assert (again.exit_code, again.promotion) == (0, None)
    assert steps_of(again) == {"load_data", "plan_retraining"}
    assert Client().get_pipeline_run(again.pipeline_run_id).status == "completed"
    assert (len(versions()), len(told())) == (1, 1)

    # The run died before it wrote the key onto the version; its own tag is enough.
    client = MlflowClient()
    client.delete_model_version_tag("squares", "1", KEY)
    assert retrain(squares).action == "nothing_new"
    # It died before it moved the alias: the next run does that, and trains nothing.
    client.delete_registered_model_alias("squares", "champion")
    for decision in alias_history("squares"):
        client.delete_registered_model_tag("squares", decision.key)
    resumed = retrain(squares)
    assert (resumed.action, resumed.promoted, champion()) == ("nothing_new", True, 1)
    assert len(versions()) == 1
    # Somebody took the alias away on purpose: an old decision does not bring it back.
    client.delete_registered_model_alias("squares", "champion")
    assert retrain(squares).action == "nothing_new"
    assert "champion" not in client.get_registered_model("squares").aliases

    assert retrain(squares, code_version="2").action == "train"
    assert len(versions()) == 2


@pytest.mark.usefixtures("stores")
def test_a_refusal_stands_and_no_failed_message_hides_it(
    squares: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "http://127.0.0.1:1/services/T00/B00/hidden"  # nobody listens on port 1
    monkeypatch.setenv("CAMGATE_WEBHOOK_URL", secret)
    first = retrain(squares, STRICT, notify={"attempts": 1})
    assert (first.verdict, first.exit_code, first.promoted) == (Status.FAIL, 1, False)
    (delivery,) = first.deliveries
    assert (delivery.where, delivery.delivered) == ("webhook", False)
    assert "NOT DELIVERED" in caplog.text
    assert first.sentence.split(". ")[0] in caplog.text
    assert "hidden" not in caplog.text + str(first)
    again = retrain(squares, STRICT, notify={"attempts": 1})
    assert (again.action, again.verdict, again.exit_code) == ("nothing_new", Status.FAIL, 1)
    assert len(versions()) == 1


@pytest.mark.usefixtures("stores")
def test_no_retraining_while_another_is_at_work_or_the_data_have_drifted(
    squares: Path, tmp_path: Path
) -> None:
    other = open_run(experiment="camgate_retraining", key="another")
    turn = take_turn("squares", "champion", "f" * 64, run_id=other)
    waiting = retrain(squares)
    assert (waiting.action, waiting.verdict, waiting.exit_code) == ("busy", None, 3)
    assert "Another retraining of squares is at work" in waiting.sentence
    end_turn("squares", "champion", turn.owner)
    assert retrain(squares).promoted

    bright = write_images(tmp_path / "bright", seed=3)
    for file in bright.parent.glob("images/*.png"):
        ImageEnhance.Brightness(Image.open(file)).enhance(1.5).save(file)
    stopped = retrain(bright, drift={"on_drift": "block"})
    assert (stopped.action, stopped.verdict, stopped.exit_code) == ("drifted", None, 3)
    assert Client().get_pipeline_run(stopped.pipeline_run_id).status == "failed"
    assert (len(versions()), champion()) == (1, 1)
    assert told()[-1]["kind"] == "drift"
    assert "brightness" in told()[-1]["sentence"]
    assert not MlflowClient().search_registered_models("name LIKE 'camgate-lock%'")


@pytest.mark.usefixtures("stores")
def test_faults_are_told_as_errors_and_leave_no_lock(squares: Path) -> None:
    table = pd.read_csv(squares)
    table.loc[3, "label"] = None
    table.to_csv(squares, index=False)
    with pytest.raises(ManifestError, match="row 5, column label: empty"):
        retrain(squares)
    assert [message["kind"] for message in told()] == ["error"]
    assert "row 5, column label: empty" in told()[0]["sentence"]
    with pytest.raises(InputError, match=r"drift\.on_drif: no such option, did you mean 'on_drift'"):
        retrain(write_images(Path("whole")), drift={"on_drif": "block"})
    with pytest.raises(InputError, match=r"notify\.folders: no such option, did you mean 'folder'"):
        retrain(Path("whole/manifest.csv"), notify={"folders": "told"})
    with pytest.raises(Exception, match="epochs"):  # breaks in the training, under the lock
        retrain(Path("whole/manifest.csv"), training=TRAINING | {"epochs": -1})
    assert len(told()) == 3
    assert not MlflowClient().search_registered_models("name LIKE 'camgate-lock%'")
