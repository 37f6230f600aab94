from __future__ import annotations

import io
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

from camgate.data.preprocessing import Preprocessing
from camgate.errors import InputError, ModelError
from camgate.models.classifier import Classifier
from camgate.models.evaluation import TRACKED, Evaluation, evaluate_classifier, evaluation_of

SIZE = Preprocessing(size=(32, 32))
NAMES = ("ape", "bee", "cow")


def slow(probabilities: np.ndarray, labels: list[int]) -> dict[str, Any]:
    """Every number again, in plain Python, from its definition."""
    count, classes = probabilities.shape
    predicted = [max(range(classes), key=lambda c: row[c]) for row in probabilities]
    right = [p == y for p, y in zip(predicted, labels, strict=True)]
    confusion = [[0] * classes for _ in range(classes)]
    for p, y in zip(predicted, labels, strict=True):
        confusion[y][p] += 1
    precision, recall, f1, present = [], [], [], []
    for c in range(classes):
        hit, called, there = confusion[c][c], sum(row[c] for row in confusion), sum(confusion[c])
        precision.append(hit / called if called else 0)
        recall.append(hit / there if there else 0)
        f1.append(2 * hit / (called + there) if called + there else 0)
        present.append(called + there > 0)
    error = 0.0
    for lower in range(15):
        inside = [i for i in range(count) if lower / 15 < max(probabilities[i]) <= (lower + 1) / 15]
        if inside:
            confidence = sum(max(probabilities[i]) for i in inside) / len(inside)
            error += len(inside) / count * abs(sum(right[i] for i in inside) / len(inside) - confidence)
    return {
        "accuracy": sum(right) / count,
        "macro_f1": sum(f for f, p in zip(f1, present, strict=True) if p) / sum(present),
        "calibration_error": error,
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "confusion": confusion,
    }


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 60), used=st.integers(1, 3))
def test_numbers_equal_the_slow_ones(seed: int, count: int, used: int) -> None:
    chance = np.random.default_rng(seed)
    probabilities = chance.dirichlet([0.6] * 3, size=count).astype(np.float32)
    labels = chance.integers(0, used, count)
    confidence, predicted = torch.from_numpy(probabilities).max(dim=1)
    found = evaluation_of(predicted, torch.from_numpy(labels), confidence, classes=NAMES)
    wanted = slow(probabilities, labels.tolist())
    for name in ("accuracy", "macro_f1", "calibration_error"):
        assert getattr(found, name) == pytest.approx(wanted[name], abs=1e-5), name
    for name in ("precision", "recall", "f1"):
        assert found.per_class[name].tolist() == pytest.approx(wanted[name], abs=1e-6), name
    pairs = {(row.label, row.predicted): row.n for row in found.confusion.itertuples()}
    names = found.per_class["label"].tolist()
    assert [[pairs.get((a, b), 0) for b in names] for a in names] == wanted["confusion"]
    assert (found.confusion["n"] > 0).all()
    assert found.per_class["n"].tolist() == [int((labels == c).sum()) for c in range(3)]


def test_calibration_error_by_hand() -> None:
    """Two sure and right, two sure of 0.8 and one of them wrong: (2 * 0.1 + 2 * |0.5 - 0.8|) / 4 = 0.2."""
    confidence, predicted = torch.tensor([0.9, 0.9, 0.8, 0.8]), torch.tensor([0, 1, 0, 0])
    found = evaluation_of(predicted, torch.tensor([0, 1, 0, 1]), confidence, classes=("a", "b"))
    assert found.calibration_error == pytest.approx(0.2, abs=1e-6)


class Reddish(nn.Module):
    """Says red where the middle of the image is redder than blue."""

    def forward(self, x: Tensor) -> Tensor:
        redder = (x[:, 0] - x[:, 2]).mean(dim=(1, 2))
        return torch.stack([-redder, redder], dim=1)


@pytest.fixture
def classifier() -> Classifier:
    plain = Preprocessing(size=(32, 32), mean=(0, 0, 0), std=(1, 1, 1))
    return Classifier(Reddish(), ["blue", "red"], plain)


def test_only_test_rows_count_where_there_are_any(classifier: Classifier, squares: pd.DataFrame) -> None:
    found = evaluate_classifier(classifier, squares, batch_size=7)
    assert found.n == int((squares["split"] == "test").sum()) > 0
    assert found.accuracy == found.macro_f1 == 1.0
    assert evaluate_classifier(classifier, squares[squares["split"] == "train"]).n == 96 - found.n
    assert evaluate_classifier(classifier, squares.drop(columns="split")).n == 96


def test_metrics_are_flat_and_named(classifier: Classifier, squares: pd.DataFrame) -> None:
    metrics = evaluate_classifier(classifier, squares).metrics()
    assert metrics["evaluation/accuracy"] == metrics["evaluation/recall/red"] == 1.0
    assert set(metrics) == {
        *(f"evaluation/{name}" for name in ("accuracy", "macro_f1", "calibration_error", "n", "unreadable")),
        *(f"evaluation/{m}/{c}" for m in ("precision", "recall", "f1") for c in ("blue", "red")),
    }
    assert all(type(value) is float for value in metrics.values())


def many(classes: int) -> Evaluation:
    """One class without images; the recall of the others rises evenly from 0 to 1."""
    names = [f"class {number}" for number in range(classes)]
    n = [0] + [5] * (classes - 1)
    recall = [0.0, *np.linspace(0, 1, classes - 1)]
    per_class = pd.DataFrame({"label": names, "n": n, "precision": 0.5, "recall": recall, "f1": 0.4})
    confusion = pd.DataFrame({"label": names[1:], "predicted": names[1:], "n": 5})
    return Evaluation(0.9, 0.8, 0.1, per_class, confusion, sum(n))


def test_many_classes_are_tracked_by_quantiles() -> None:
    few, more = many(TRACKED).metrics(), many(TRACKED + 2).metrics()
    assert len(few) == 5 + 3 * TRACKED
    assert "evaluation/recall/class 7" in few
    assert len(more) == 5 + 9
    assert more["evaluation/recall_lowest"] == 0.0
    assert more["evaluation/recall_p10"] == pytest.approx(0.1)
    assert more["evaluation/recall_median"] == pytest.approx(0.5)
    assert more["evaluation/precision_median"] == 0.5
    assert few["evaluation/accuracy"] == more["evaluation/accuracy"] == 0.9


def test_unreadable_images_are_counted(classifier: Classifier, squares: pd.DataFrame, tmp_path: Path) -> None:
    frame = squares[squares["split"] == "test"].reset_index(drop=True)
    whole = len(frame)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    frame.loc[0, "image"] = str(tmp_path / "broken.png")
    found = evaluate_classifier(classifier, frame)
    assert (found.n, found.unreadable) == (whole - 1, 1)
    frame["image"] = str(tmp_path / "broken.png")
    with pytest.raises(InputError, match="none of the"):
        evaluate_classifier(classifier, frame)


def test_labels_that_the_model_does_not_know(classifier: Classifier, squares: pd.DataFrame) -> None:
    frame = squares.drop(columns="split")
    frame.loc[3, "label"] = "green"
    with pytest.raises(InputError, match=r"green.*blue, red"):
        evaluate_classifier(classifier, frame)


def test_outputs_that_are_not_finite_are_an_error(squares: pd.DataFrame) -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.full((len(x), 2), float("nan"))

    with pytest.raises(ModelError, match="not finite"):
        evaluate_classifier(Classifier(Broken(), ["blue", "red"], SIZE), squares)


def test_confusion_picture_is_a_png(classifier: Classifier, squares: pd.DataFrame) -> None:
    found = evaluate_classifier(classifier, squares)
    picture = Image.open(io.BytesIO(found.confusion_picture()))
    assert picture.format == "PNG"
    assert min(picture.size) > 200
    assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 10


def test_what_is_not_installed_is_named(
    classifier: Classifier, squares: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    blocked = {name: None for name in sys.modules if name.split(".")[0] == "torchmetrics"}
    for name, value in MappingProxyType(blocked).items():
        monkeypatch.setitem(sys.modules, name, value)
    with pytest.raises(InputError, match=r"pip install 'camgate\[training\]'"):
        evaluate_classifier(classifier, squares)
