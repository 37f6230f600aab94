from __future__ import annotations

import dataclasses
import io
import json
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from PIL import Image

from camgate.audit.result import AuditResult
from camgate.audit.summary import summarise
from camgate.data.digest import data_digest
from camgate.errors import InputError, RegistryError
from camgate.gate.policy import Policy
from camgate.gate.verdict import Verdict
from camgate.models.evaluation import Evaluation
from camgate.registry.connection import process_tracking_uri
from camgate.registry.pictures import captioned, gallery_pictures
from camgate.registry.tracking import (
    audit_run,
    finish_run,
    log_audit,
    log_data,
    log_evaluation,
    log_parameters,
    log_training,
    log_verdict,
    open_run,
)


def files(client: MlflowClient, run_id: str, folder: str = "") -> set[str]:
    found = set()
    for entry in client.list_artifacts(run_id, folder):
        found |= files(client, run_id, entry.path) if entry.is_dir else {entry.path}
    return found


def read(client: MlflowClient, run_id: str, path: str, tmp_path: Path) -> bytes:
    return Path(client.download_artifacts(run_id, path, str(tmp_path))).read_bytes()


def test_one_run_for_a_key(store: str) -> None:
    first = open_run(experiment="e", key="k", tracking_uri=store)
    assert open_run(experiment="e", key="k", tracking_uri=store) == first
    assert open_run(experiment="e", key="k2", tracking_uri=store) != first
    finish_run(first, tracking_uri=store)
    assert open_run(experiment="e", key="k", tracking_uri=store) == first
    client = MlflowClient(store)
    assert client.get_run(first).info.status == "FINISHED"
    assert client.get_run(first).data.tags["camgate.run_key"] == "k"


def test_a_faster_process_wins(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both the experiment and the run come into being between looking and making."""
    rivals = []
    make_run, make_experiment = MlflowClient.create_run, MlflowClient.create_experiment

    def run_after_rival(self: MlflowClient, experiment_id: str, **how: Any) -> Any:
        rivals.append(make_run(self, experiment_id, **how).info.run_id)
        time.sleep(0.002)  # starts are counted in milliseconds
        return make_run(self, experiment_id, **how)

    def experiment_after_rival(self: MlflowClient, name: str, **how: Any) -> Any:
        make_experiment(self, name, **how)
        return make_experiment(self, name, **how)

    with monkeypatch.context() as race:
        race.setattr(MlflowClient, "create_run", run_after_rival)
        race.setattr(MlflowClient, "create_experiment", experiment_after_rival)
        found = open_run(experiment="together", key="k", tracking_uri=store)
    assert rivals == [found]
    client = MlflowClient(store)
    experiment = client.get_experiment_by_name("together")
    assert experiment is not None
    assert [run.info.run_id for run in client.search_runs([experiment.experiment_id])] == [found]


def test_files_lie_beside_the_database(store: str, run_id: str) -> None:
    location = MlflowClient(store).get_run(run_id).info.artifact_uri
    folder = Path(store.removeprefix("sqlite:///")).parent
    assert location.startswith((folder / "mlruns").as_uri())


def test_the_active_run_of_the_process_is_used_and_left_open(store: str) -> None:
    with process_tracking_uri(store):
        own = mlflow.set_experiment("own")
        with mlflow.start_run(experiment_id=own.experiment_id) as active:
            assert open_run(experiment="e", key="k") == active.info.run_id
            assert open_run(experiment="e", key="k", tracking_uri=store) == active.info.run_id
            finish_run(active.info.run_id)
            assert MlflowClient(store).get_run(active.info.run_id).info.status == "RUNNING"


def test_an_active_run_in_another_store_is_not_used(store: str, migrated: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    other.write_bytes(migrated.read_bytes())
    with process_tracking_uri(f"sqlite:///{other}"):
        client = MlflowClient()
        place = client.create_experiment("own", artifact_location=str(tmp_path / "art"))
        with mlflow.start_run(experiment_id=place) as active:
            made = open_run(experiment="e", key="k", tracking_uri=store)
            assert made != active.info.run_id
            assert MlflowClient(store).get_run(made).info.run_id == made


@pytest.mark.parametrize("key", ["", "it's", 'a"b', "a\nb", "x" * 251])
def test_odd_keys(store: str, key: str) -> None:
    with pytest.raises(InputError, match="`key` must be"):
        open_run(experiment="e", key=key, tracking_uri=store)


def test_a_deleted_experiment_says_how_to_restore_it(store: str, run_id: str) -> None:
    client = MlflowClient(store)
    client.delete_experiment(client.get_run(run_id).info.experiment_id)
    with pytest.raises(RegistryError, match="mlflow experiments restore"):
        open_run(experiment="camgate tests", key="k", tracking_uri=store)


def test_parameters_may_be_logged_again_but_not_changed(store: str, run_id: str) -> None:
    log_parameters(run_id, {"a": 1, "b": {"c": [1, 2]}}, prefix="p.", tracking_uri=store)
    log_parameters(run_id, {"a": 1, "d": "x" * 9000}, prefix="p.", tracking_uri=store)
    held = MlflowClient(store).get_run(run_id).data.params
    assert held["p.a"] == "1"
    assert held["p.b.c"] == "[1, 2]"
    assert len(held["p.d"]) == 6000
    with pytest.raises(RegistryError, match=r"other values for p\.a"):
        log_parameters(run_id, {"a": 2}, prefix="p.", tracking_uri=store)


def test_many_parameters(store: str, run_id: str) -> None:
    log_parameters(run_id, {f"n{number}": number for number in range(250)}, tracking_uri=store)
    assert len(MlflowClient(store).get_run(run_id).data.params) == 250


def test_data_are_an_input_with_their_digest(store: str, run_id: str, squares: pd.DataFrame) -> None:
    digest = data_digest(squares)
    log_data(run_id, squares, digest, tracking_uri=store)
    log_data(run_id, squares.assign(split="test"), "e" * 64, name="test rows", tracking_uri=store)
    inputs = {
        entry.dataset.name: entry for entry in MlflowClient(store).get_run(run_id).inputs.dataset_inputs
    }
    first = inputs["manifest"]
    tags = {tag.key: tag.value for tag in first.tags}
    assert first.dataset.digest == digest[:36]
    assert tags == {"mlflow.data.context": "all rows", "camgate.data_digest": digest}
    assert json.loads(first.dataset.profile)["num_rows"] == 24
    assert json.loads(first.dataset.profile)["by_label"] == {"red": 12, "blue": 12}
    assert {tag.value for tag in inputs["test rows"].tags} == {"test", "e" * 64}
    names = [column["name"] for column in json.loads(first.dataset.schema)["mlflow_colspec"]]
    assert names == list(squares.columns)


def test_training(store: str, run_id: str) -> None:
    history = pd.DataFrame({"epoch": [1, 2, 3], "validation_loss": [0.5, math.nan, 0.2], "note": "x"})
    log_training(run_id, {"epochs": 3, "seed": 0}, history, tracking_uri=store)
    client = MlflowClient(store)
    points = client.get_metric_history(run_id, "training/validation_loss")
    assert [(point.step, point.value) for point in points] == [(1, 0.5), (3, 0.2)]
    assert client.get_run(run_id).data.params == {"training.epochs": "3", "training.seed": "0"}
    assert set(client.get_run(run_id).data.metrics) == {"training/validation_loss"}


def test_evaluation_with_hostile_classes(store: str, run_id: str, tmp_path: Path) -> None:
    classes = ["a/../b", "a//b", "naïve:x"]
    per_class = pd.DataFrame(
        {"label": classes, "n": 1, "precision": [0.1, 0.2, 0.3], "recall": [0.4, 0.5, math.nan], "f1": 0.6}
    )
    confusion = pd.DataFrame({"label": classes, "predicted": classes, "n": 1})
    evaluation = Evaluation(
        accuracy=0.9,
        macro_f1=0.8,
        calibration_error=math.nan,
        per_class=per_class,
        confusion=confusion,
        n=3,
    )
    log_evaluation(run_id, evaluation, tracking_uri=store)
    client = MlflowClient(store)
    metrics = client.get_run(run_id).data.metrics
    assert metrics["evaluation/accuracy"] == 0.9
    assert "evaluation/calibration_error" not in metrics
    assert sorted(v for k, v in metrics.items() if k.startswith("evaluation/precision/")) == [0.1, 0.2, 0.3]
    assert sorted(v for k, v in metrics.items() if k.startswith("evaluation/recall/")) == [0.4, 0.5]
    assert files(client, run_id) == {
        f"evaluation/{name}" for name in ("per_class.csv", "confusion.csv", "confusion.png")
    }
    Image.open(io.BytesIO(read(client, run_id, "evaluation/confusion.png", tmp_path))).verify()


def test_evaluation_of_many_classes(store: str, run_id: str, tmp_path: Path) -> None:
    names = [f"class {number}" for number in range(1000)]
    per_class = pd.DataFrame({"label": names, "n": 2, "precision": 0.5, "recall": 0.6, "f1": 0.7})
    confusion = pd.DataFrame({"label": names, "predicted": [*names[1:], names[0]], "n": 2})
    evaluation = Evaluation(0.9, 0.8, 0.1, per_class, confusion, 2000)
    log_evaluation(run_id, evaluation, tracking_uri=store)
    client = MlflowClient(store)
    metrics = client.get_run(run_id).data.metrics
    assert len(metrics) == 5 + 9
    assert metrics["evaluation/f1_p10"] == 0.7
    for name, table in (("per_class", per_class), ("confusion", confusion)):
        logged = pd.read_csv(io.BytesIO(read(client, run_id, f"evaluation/{name}.csv", tmp_path)))
        pd.testing.assert_frame_equal(logged, table)


def shown(client: MlflowClient, run_id: str) -> list[str]:
    """Kind and step of each picture in the run's image view."""
    return sorted(
        "+".join(Path(path).name.split("+")[:3])
        for path in files(client, run_id)
        if path.startswith("images/") and path.endswith(".png")
    )


def test_audit(store: str, run_id: str, result: AuditResult, tmp_path: Path) -> None:
    log_audit(run_id, result, pictures=6, tracking_uri=store)
    client = MlflowClient(store)
    run = client.get_run(run_id)
    expected = {f"audit/{name}": value for name, value in summarise(result).items()}
    assert run.data.metrics == pytest.approx(expected)
    assert {"audit/n", "audit/accuracy"} <= set(run.data.metrics)
    assert run.data.params["audit.method"] == result.settings.method
    assert run.data.params["audit.seed"] == "1"
    assert run.data.tags["camgate.data_digest"] == result.data_digest
    assert run.data.tags["camgate.model_digest"] == result.model_digest
    loaded = AuditResult.load(client.download_artifacts(run_id, "audit", str(tmp_path)))
    pd.testing.assert_frame_equal(loaded.scores, result.scores, check_dtype=False)
    assert shown(client, run_id) == [
        f"audit~{kind}+step+{rank}" for kind in ("sample", "worst") for rank in (0, 1, 2)
    ]


def test_the_verdict_is_added_to_an_audit_that_is_there(
    store: str, run_id: str, result: AuditResult, make_verdict: Callable[..., Verdict], tmp_path: Path
) -> None:
    client = MlflowClient(store)
    verdict = make_verdict("FAIL", result.model_digest)
    log_audit(run_id, result, pictures=2, tracking_uri=store)
    before = shown(client, run_id)
    log_audit(run_id, result, verdict, pictures=2, tracking_uri=store)
    assert shown(client, run_id) == before
    assert client.get_run(run_id).data.tags["camgate.verdict"] == "FAIL"
    assert Verdict.model_validate_json(read(client, run_id, "audit/verdict.json", tmp_path)) == verdict

    folder = result.save(tmp_path / "saved")
    (folder / "report.html").write_text("<p>report")
    log_audit(run_id, result, verdict, folder=folder, tracking_uri=store)
    assert read(client, run_id, "audit/report.html", tmp_path) == b"<p>report"
    assert shown(client, run_id) == before


def test_files_of_an_audit_that_the_run_does_not_hold_bring_the_audit_along(
    store: str, run_id: str, result: AuditResult, make_verdict: Callable[..., Verdict], tmp_path: Path
) -> None:
    report = tmp_path / "files" / "report.html"
    report.parent.mkdir()
    report.write_text("<p>report")
    verdict = make_verdict("FAIL", result.model_digest)
    log_audit(run_id, result, verdict, folder=report.parent, pictures=0, tracking_uri=store)
    client = MlflowClient(store)
    assert read(client, run_id, "audit/report.html", tmp_path) == b"<p>report"
    loaded = AuditResult.load(client.download_artifacts(run_id, "audit", str(tmp_path)))
    pd.testing.assert_frame_equal(loaded.scores, result.scores, check_dtype=False)


def test_another_audit_goes_to_a_run_of_its_own_below(store: str, run_id: str, result: AuditResult) -> None:
    assert log_audit(run_id, result, pictures=0, tracking_uri=store) == run_id
    other = dataclasses.replace(result, settings=result.settings.model_copy(update={"seed": 9}))
    below = log_audit(run_id, other, pictures=2, tracking_uri=store)
    client = MlflowClient(store)
    assert [client.get_run(run).data.params["audit.seed"] for run in (run_id, below)] == ["1", "9"]
    assert client.get_run(below).data.tags["mlflow.parentRunId"] == run_id
    assert client.get_run(below).info.status == "FINISHED"
    assert shown(client, run_id) == []
    assert (
        audit_run(run_id, other, tracking_uri=store) == log_audit(run_id, other, tracking_uri=store) == below
    )


def test_two_audits_at_once_do_not_share_a_run(
    store: str, run_id: str, result: AuditResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have looked at the run before either has written to it."""
    look, both, seen = MlflowClient.get_run, threading.Barrier(2, timeout=30), threading.local()

    def look_together(self: MlflowClient, run: str) -> Any:
        found = look(self, run)
        if not hasattr(seen, "once"):
            seen.once = True
            both.wait()
        return found

    settings = result.settings.model_copy(update={"seed": 9})
    audits = [result, dataclasses.replace(result, settings=settings, created="later")]
    with monkeypatch.context() as race, ThreadPoolExecutor(2) as threads:
        race.setattr(MlflowClient, "get_run", look_together)
        held = list(threads.map(lambda each: log_audit(run_id, each, pictures=2, tracking_uri=store), audits))
    assert run_id in held
    assert held[0] != held[1]
    client = MlflowClient(store)
    for each, run in zip(audits, held, strict=True):
        folder = tmp_path / run
        folder.mkdir()
        loaded = AuditResult.load(client.download_artifacts(run, "audit", str(folder)))
        assert (loaded.settings.seed, loaded.created) == (each.settings.seed, each.created)
        assert client.get_run(run).data.params["audit.seed"] == str(each.settings.seed)
        assert audit_run(run_id, each, tracking_uri=store) == run


def test_verdict(store: str, run_id: str, make_verdict: Callable[..., Verdict], tmp_path: Path) -> None:
    verdict, policy = make_verdict("INCONCLUSIVE", "a" * 64), Policy.default()
    log_verdict(run_id, verdict, policy, tracking_uri=store)
    client = MlflowClient(store)
    assert Verdict.model_validate_json(read(client, run_id, "gate/verdict.json", tmp_path)) == verdict
    (tmp_path / "policy.yaml").write_bytes(read(client, run_id, "gate/policy.yaml", tmp_path))
    assert Policy.load(tmp_path / "policy.yaml").digest() == policy.digest()
    run = client.get_run(run_id)
    assert run.data.metrics == {"gate/invalid_lift": 0.25, "gate/passed": 0.0}  # one check has no value
    assert run.data.tags["camgate.policy_digest"] == policy.digest()
    assert run.data.tags["camgate.sentence"] == verdict.sentence
    note = "mlflow.note.content"
    assert run.data.tags[note] == verdict.sentence
    for before, after in (("Blocked: as it was.", verdict.sentence), ("My own words.", "My own words.")):
        client.set_tag(run_id, note, before)
        log_verdict(run_id, verdict, policy, tracking_uri=store)
        assert client.get_run(run_id).data.tags[note] == after


def test_the_table_view_has_the_worst_rows(
    store: str, run_id: str, result: AuditResult, tmp_path: Path
) -> None:
    log_audit(run_id, result, tracking_uri=store)
    log_audit(run_id, result, tracking_uri=store)  # a second call repeats nothing
    table = json.loads(read(MlflowClient(store), run_id, "audit/scores_table.json", tmp_path))
    assert len(table["data"]) == len(result.scores)
    shares = [row[table["columns"].index("invalid_activation")] for row in table["data"]]
    known = [share for share in shares if share is not None]
    assert known == sorted(known, reverse=True)
    tables = json.loads(MlflowClient(store).get_run(run_id).data.tags["mlflow.loggedArtifacts"])
    assert {"path": "audit/scores_table.json", "type": "table"} in tables


def test_pictures_are_capped_by_turns(result: AuditResult) -> None:
    assert [item.kind for item in result.gallery].count("worst") >= 3
    chosen = [(kind, rank) for kind, rank, _ in gallery_pictures(result, 5)]
    assert chosen == [("worst", 0), ("sample", 0), ("worst", 1), ("sample", 1), ("worst", 2)]
    assert gallery_pictures(result, 0) == []
    assert len(gallery_pictures(result, 999)) == sum(item.kind != "cluster" for item in result.gallery)


def test_a_caption_fits_and_changes_with_what_it_says(result: AuditResult) -> None:
    item = result.gallery[0]
    row: dict[str, Any] = {
        "image_id": "x/" * 300,
        "label": "red",
        "predicted": "blue",
        "confidence": 0.5,
        "invalid_activation": math.nan,
        "invalid_area": None,
    }
    one, other = captioned(item, row), captioned(item, row | {"predicted": "red"})
    assert one.dtype == np.uint8
    assert one.shape == other.shape
    assert not np.array_equal(one, other)
    assert (one[:, -3:][-30:] == 255).all()  # the text stops before the edge
    captioned(item, row | {"image_id": "行人\n\0", "label": "مشاة"})  # any text can be drawn
