"""Artifacts survive the trip through the artifact store, without pickle and without silent changes."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn
from zenml import load_artifact, save_artifact
from zenml.client import Client
from zenml.enums import VisualizationType

from camgate.audit.result import AuditResult, AuditSettings, GalleryItem
from camgate.data.preprocessing import Preprocessing
from camgate.errors import InputError, ModelError
from camgate.gate.verdict import CheckResult, Status, Verdict
from camgate.materializers import audit as audit_materializer
from camgate.materializers.classifier import ClassifierMaterializer
from camgate.materializers.sources import pin
from camgate.models.builders import build
from camgate.models.classifier import Classifier
from camgate.models.evaluation import Evaluation


def own_net(num_classes: int, width: int = 4) -> nn.Module:
    """A user's builder, reached by import path."""
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, num_classes),
    )


def classifier(**options: object) -> Classifier:
    torch.manual_seed(0)
    settings = {"builder": "resnet_small", **options}
    return Classifier(
        build("resnet_small", {}, 2),
        ["a", "b"],
        Preprocessing(size=(32, 32)),
        **settings,  # type: ignore[arg-type]
    )


def audit_result(pictures: int = 4) -> AuditResult:
    rng = np.random.default_rng(0)
    settings = AuditSettings(
        method="gradcam", method_requested="auto", target_layer="x", target_layer_reason="r",
        target_layer_rule="auto", map_size=(2, 2), target="predicted", tolerance=1, interventions=False,
        draws=1, fill="inpaint", margin=0.05, seed=3, max_interventions=10,
    )  # fmt: skip
    scores = pd.DataFrame(
        {
            "image_id": ["1", "2", "3", "4"], "label": ["a", "a", "b", "b"],
            "predicted": ["a", "b", "b", "b"],
            "confidence": [0.9, 0.6, 0.7, 0.8], "target": ["a", "b", "b", "b"],
            "invalid_activation": [0.1, 0.2, 0.3, np.nan],
            "invalid_activation_label": [0.1, 0.3, 0.3, np.nan],
            "invalid_area": [0.5, 0.5, 0.5, 0.5], "invalid_lift": [0.2, 0.4, 0.6, np.nan],
            "peak_invalid": [0.0, 1.0, 0.0, np.nan], "status": ["ok", "ok", "ok", "dead_map"],
            "group": ["g", "h", "i", "j"], "split": ["test"] * 4,
        }
    )  # fmt: skip
    gallery = tuple(
        GalleryItem(
            image_id=str(rank + 1),
            kind="worst",
            rank=rank,
            image=rng.integers(0, 255, (32, 32, 3), dtype=np.uint8),
            heatmap=rng.random((2, 2), dtype=np.float32),
            region=rng.random((32, 32)) > 0.5,
        )
        for rank in range(pictures)
    )
    return AuditResult(
        settings=settings, classes=("a", "b"), model_digest="0" * 64, data_digest="1" * 64, scores=scores,
        interventions=None, baselines={"uniform": 0.5, "centre": 0.5, "shuffled": 0.4}, gallery=gallery,
        warnings=("one",), versions={"torch": "2"}, created="2026-01-01T00:00:00+00:00",
        model_uri="models:/m/1",
    )  # fmt: skip


def files_of(uri: str) -> set[str]:
    return {path.relative_to(uri).as_posix() for path in Path(uri).rglob("*") if path.is_file()}


@pytest.mark.usefixtures("stores")
def test_classifier_comes_back_equal_to_the_bit_and_knows_where_it_was_logged() -> None:
    model = classifier(target_layer="stage3")
    model.model_uri = "models:/m-123"
    model.source_digest = "f" * 64
    kept = save_artifact(model, "model")
    back = load_artifact("model")

    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    np.testing.assert_array_equal(back.probabilities(images), model.probabilities(images))
    assert (back.classes, back.preprocessing, back.target_layer) == (
        model.classes,
        model.preprocessing,
        "stage3",
    )
    assert (back.model_uri, back.digest()) == ("models:/m-123", "f" * 64)
    assert files_of(kept.uri) == {
        "content/model.safetensors",
        "content/classifier.json",
        "content/origin.json",
    }
    assert kept.data_type.import_path == "camgate.models.classifier.Classifier"
    assert kept.materializer.import_path == "camgate.materializers.classifier.ClassifierMaterializer"


@pytest.mark.usefixtures("stores")
def test_a_module_changed_after_it_was_logged_loses_its_origin() -> None:
    model = classifier(model_uri="models:/m-123", source_digest="f" * 64)
    with torch.no_grad():
        next(model.module.parameters()).add_(1.0)
    save_artifact(model, "model")
    back = load_artifact("model")
    assert back.model_uri is None
    assert back.digest() == model.digest() != "f" * 64


def test_metadata_name_a_few_of_many_classes() -> None:
    def named(model: Classifier) -> object:
        return ClassifierMaterializer("unused").extract_metadata(model)["classes"]

    assert named(classifier()) == ", ".join(classifier().classes)
    model = classifier()
    model.classes = tuple(f"class {number}" for number in range(1000))
    assert str(named(model)).endswith("class 7 and 992 more")


@pytest.mark.usefixtures("stores")
def test_users_own_builder_runs_only_for_the_files_that_the_step_saved() -> None:
    path = f"{__name__}:own_net"
    model = Classifier(
        own_net(2, width=6), ["a", "b"], Preprocessing(size=(32, 32)), builder=path, builder_args={"width": 6}
    )
    kept = save_artifact(model, "own")
    assert load_artifact("own").digest() == model.digest()

    spec = Path(kept.uri) / "content" / "classifier.json"
    changed = json.loads(spec.read_text())
    changed["builder"] = "os:system"
    spec.write_text(json.dumps(changed))
    with pytest.raises(InputError, match="not those that the step saved"):
        load_artifact("own")


@pytest.mark.usefixtures("stores")
def test_classifier_without_builder_says_what_to_do() -> None:
    with pytest.raises(ModelError, match="builder"):
        save_artifact(classifier(builder=None), "model")


@pytest.mark.usefixtures("stores")
def test_audit_result_comes_back_whole_with_a_contact_sheet() -> None:
    result = audit_result()
    kept = save_artifact(result, "audit")
    back = load_artifact("audit")

    assert back.meta() == result.meta()
    pd.testing.assert_frame_equal(back.scores, result.scores)
    for one, other in zip(back.gallery, result.gallery, strict=True):
        np.testing.assert_array_equal(one.heatmap, other.heatmap)
        np.testing.assert_array_equal(one.region, other.region)
    assert {"content/audit.json", "content/scores.parquet", "content/summary.json"} <= files_of(kept.uri)
    (sheet,) = kept.visualizations
    assert sheet.type is VisualizationType.IMAGE
    with Image.open(sheet.uri) as picture:
        assert picture.width > picture.height > 100
    assert kept.run_metadata["summary"]["invalid_activation_mean"] == pytest.approx(0.2)


def test_contact_sheet_holds_every_picture_it_is_asked_for() -> None:
    def height(pictures: int) -> int:
        return Image.open(io.BytesIO(audit_materializer.contact_sheet(audit_result(pictures)))).height

    assert height(6) / height(3) == pytest.approx(2, abs=0.02)


@pytest.mark.usefixtures("stores")
def test_verdict_comes_back_and_its_table_escapes_html() -> None:
    check = CheckResult(name="accuracy", status=Status.FAIL, reason="below_limit", message="<b>5 & 6</b>")
    verdict = Verdict(
        status=Status.FAIL, reason="below_limit", sentence="Blocked: <b>5 & 6</b>.", checks=(check,),
        policy_digest="2" * 64, model_digest="0" * 64, data_digest="1" * 64, settings={"seed": 3},
    )  # fmt: skip
    kept = save_artifact(verdict, "verdict")
    assert load_artifact("verdict") == verdict
    (page,) = kept.visualizations
    assert page.type is VisualizationType.HTML
    html = Path(page.uri).read_text()
    assert "&lt;b&gt;5 &amp; 6&lt;/b&gt;" in html
    assert "<b>" not in html
    assert kept.run_metadata["status"] == "FAIL"


@pytest.mark.usefixtures("stores")
def test_evaluation_comes_back_with_its_tables() -> None:
    evaluation = Evaluation(
        accuracy=0.75,
        macro_f1=0.7,
        calibration_error=0.1,
        per_class=pd.DataFrame(
            {
                "label": ["a", "b"],
                "n": [2, 2],
                "precision": [1.0, 0.5],
                "recall": [0.5, 1.0],
                "f1": [0.6, 0.6],
            }
        ),
        confusion=pd.DataFrame({"label": ["a", "a", "b"], "predicted": ["a", "b", "b"], "n": [1, 1, 2]}),
        n=4,
        unreadable=1,
    )
    kept = save_artifact(evaluation, "evaluation")
    back = load_artifact("evaluation")
    assert back.metrics() == evaluation.metrics()
    pd.testing.assert_frame_equal(back.confusion, evaluation.confusion, check_names=True)
    assert [picture.type for picture in kept.visualizations] == [VisualizationType.IMAGE]


@pytest.mark.usefixtures("stores")
def test_nothing_of_ours_is_pickled() -> None:
    for number, thing in enumerate((classifier(), audit_result())):
        uri = save_artifact(thing, f"thing{number}").uri
        for path in Path(uri).rglob("*"):
            assert path.suffix not in {".pkl", ".pickle", ".pt"}
    assert Client().active_stack.artifact_store.flavor == "local"


def test_pin_names_the_class_as_it_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    from zenml.utils import source_utils

    repo = Path(__file__).resolve().parents[2]
    monkeypatch.setattr(source_utils, "_CUSTOM_SOURCE_ROOT", str(repo))
    assert source_utils.resolve(AuditResult).import_path == "camgate.audit.result.AuditResult"
    # Without a pin the same root gives the path, which loads nowhere else.
    assert source_utils.resolve(GalleryItem).import_path.endswith("src.camgate.audit.result.GalleryItem")
    assert pin is not None
