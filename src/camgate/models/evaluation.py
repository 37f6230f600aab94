"""How good a classifier is on labelled images, by torchmetrics. Needs the extra `camgate[training]`."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from camgate.data.dataset import ImageDataset, make_loader
from camgate.errors import InputError, ModelError, some_of
from camgate.models.classifier import Classifier, evaluation_mode

CALIBRATION_BINS = 15
PICTURED = 30
"""Classes in the picture of the confusion matrix, at most."""
TRACKED = 100
"""Classes up to which each has metrics of its own in a tracker."""
QUANTILES = {"lowest": 0.0, "p10": 0.1, "median": 0.5}
"""What is tracked of more classes."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Results over the readable images.

    Attributes:
        accuracy: share of images predicted right, 0..1.
        macro_f1: unweighted mean F1 over the classes that occur as label or prediction, 0..1.
        calibration_error: expected calibration error of the highest probability (Naeini et al. 2015; Guo et
            al. 2017): 15 bins of equal width, L1 norm, 0..1.
        per_class: one row a class: label, n (images with that label), precision, recall, f1. Where a value
            divides by nothing it is 0, as in scikit-learn.
        confusion: label, predicted, n: one row a pair that occurs, in the order of the classes.
        n: readable images.
        unreadable: images left out.
    """

    accuracy: float
    macro_f1: float
    calibration_error: float
    per_class: pd.DataFrame
    confusion: pd.DataFrame
    n: int
    unreadable: int = 0

    def metrics(self) -> dict[str, float]:
        """Flat numbers for a tracker, such as ``evaluation/accuracy`` and ``evaluation/recall/<class>``.

        Of more classes than `TRACKED` it gets `QUANTILES` over those with images instead, such as
        ``evaluation/recall_lowest``; `per_class` has the numbers of each.
        """
        flat = {
            "evaluation/accuracy": self.accuracy,
            "evaluation/macro_f1": self.macro_f1,
            "evaluation/calibration_error": self.calibration_error,
            "evaluation/n": float(self.n),
            "evaluation/unreadable": float(self.unreadable),
        }
        present = self.per_class[self.per_class["n"] > 0]
        for name in ("precision", "recall", "f1"):
            if len(self.per_class) > TRACKED:
                for quantile, share in QUANTILES.items():
                    flat[f"evaluation/{name}_{quantile}"] = float(present[name].quantile(share))
            else:
                for label, value in zip(self.per_class["label"], self.per_class[name], strict=True):
                    flat[f"evaluation/{name}/{label}"] = float(value)
        return flat

    def confusion_picture(self) -> bytes:
        """The confusion matrix as a PNG: colour is the share of the row, text the count.

        With more classes than `PICTURED`, those that most errors begin or end in.
        """
        # The object API draws without pyplot, so neither a window system nor global state is touched.
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        names = self._pictured()
        pairs = self.confusion.pivot(index="label", columns="predicted", values="n")
        counts = pairs.reindex(index=names, columns=names).fillna(0).to_numpy(dtype=int)
        totals = self.per_class.set_index("label")["n"].reindex(names).to_numpy(dtype=int)
        shares = counts / totals[:, None].clip(min=1)
        side = max(3.6, 1.6 + 0.7 * len(names))
        figure = Figure(figsize=(side + 0.6, side), dpi=110, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.set_xticks(range(len(names)), names, rotation=35, ha="right")
        axes.set_yticks(range(len(names)), names)
        title = f"accuracy {self.accuracy:.3f}, n = {self.n}"
        if len(names) < len(self.per_class):
            title += f"; the {len(names)} most confused of {len(self.per_class)} classes"
        axes.set(xlabel="predicted", ylabel="label", title=title)
        for (row, column), count in _cells(counts):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(int(count)), ha="center", va="center", color=colour)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
        return buffer.getvalue()

    def _pictured(self) -> list[str]:
        """All classes, or those with most errors, in the order of the classes."""
        names = self.per_class["label"].astype(str)
        if len(names) <= PICTURED:
            return list(names)
        errors = self.confusion[self.confusion["label"].ne(self.confusion["predicted"])]
        ends = pd.concat([errors.groupby(end)["n"].sum() for end in ("label", "predicted")])
        chosen = set(ends.groupby(level=0).sum().nlargest(PICTURED).index)
        return [name for name in names if name in chosen]


def evaluate_classifier(
    classifier: Classifier, manifest: pd.DataFrame, *, batch_size: int = 64, workers: int = 0
) -> Evaluation:
    """Predict the test rows of `manifest` and compare with their labels.

    Args:
        classifier: its module's train/eval mode is as before afterwards.
        manifest: validated rows. Where any has the `split` test only those count, so that a whole manifest
            never mixes training rows into the accuracy; otherwise all of them do.
        batch_size: images per forward pass.
        workers: processes that read images; 0 reads in this one.

    Raises:
        InputError: a label that is not among the classes, no readable image, or the extra
            `camgate[training]` is missing.
        ModelError: outputs that are not finite.
    """
    _torchmetrics()  # before the work
    if "split" in manifest and (manifest["split"] == "test").any():
        manifest = manifest[manifest["split"] == "test"].reset_index(drop=True)
    unknown = sorted({str(label) for label in manifest["label"]} - set(classifier.classes))
    if unknown:
        raise InputError(
            f"label(s) that the model does not know: {some_of(unknown)}; its classes are "
            f"{some_of(classifier.classes)}"
        )
    probabilities, labels, unreadable = _predict(classifier, manifest, batch_size=batch_size, workers=workers)
    confidence, predicted = probabilities.max(dim=1)
    return evaluation_of(predicted, labels, confidence, classes=classifier.classes, unreadable=unreadable)


def evaluation_of(
    predicted: Tensor, labels: Tensor, confidence: Tensor, *, classes: Sequence[str], unreadable: int = 0
) -> Evaluation:
    """The numbers, from predictions made already (an audit has them, see `camgate.audit.evaluated`).

    Args:
        predicted: int64 `(n,)`, positions in `classes`.
        labels: int64 `(n,)`, positions in `classes`.
        confidence: float `(n,)`, the probability of the predicted class, 0..1.
        classes: in the model's order.
        unreadable: images that were left out.

    Raises:
        InputError: no image, or the extra `camgate[training]` is missing.
    """
    metrics = _torchmetrics()
    if not len(labels):
        raise InputError(f"none of the {unreadable} images can be read: nothing to evaluate")
    how: dict[str, Any] = {"num_classes": len(classes)}

    def each(name: str) -> list[float]:
        return [float(v) for v in getattr(metrics, name)(predicted, labels, average="none", **how)]

    names = np.array(classes, dtype=object)
    pairs = pd.DataFrame({"label": labels.numpy(), "predicted": predicted.numpy()})
    confusion = pairs.groupby(["label", "predicted"]).size().rename("n").reset_index()
    per_class = pd.DataFrame(
        {
            "label": list(classes),
            "n": np.bincount(pairs["label"], minlength=len(classes)),
            "precision": each("multiclass_precision"),
            "recall": each("multiclass_recall"),
            "f1": each("multiclass_f1_score"),
        }
    )
    # Of each image the error needs the highest probability and whether it is right, no more.
    error = metrics.binary_calibration_error(
        confidence, (predicted == labels).long(), n_bins=CALIBRATION_BINS, norm="l1"
    )
    return Evaluation(
        accuracy=float(metrics.multiclass_accuracy(predicted, labels, average="micro", **how)),
        macro_f1=float(metrics.multiclass_f1_score(predicted, labels, average="macro", **how)),
        calibration_error=float(error),
        per_class=per_class,
        confusion=confusion.assign(label=names[confusion["label"]], predicted=names[confusion["predicted"]]),
        n=len(labels),
        unreadable=unreadable,
    )


def _predict(
    classifier: Classifier, manifest: pd.DataFrame, *, batch_size: int, workers: int
) -> tuple[Tensor, Tensor, int]:
    dataset = ImageDataset(manifest, classifier.preprocessing, classifier.classes)
    probabilities: list[Tensor] = [torch.zeros(0, len(classifier.classes))]
    labels: list[Tensor] = [torch.zeros(0, dtype=torch.int64)]
    with evaluation_mode(classifier.module), torch.inference_mode():
        for batch in make_loader(dataset, batch_size=batch_size, workers=workers):
            readable = torch.tensor([fault is None for fault in batch.faults])
            if readable.any():
                probabilities.append(classifier.logits(batch.images[readable]).softmax(dim=1).cpu())
                labels.append(batch.labels[readable])
    stacked, known = torch.cat(probabilities), torch.cat(labels)
    broken = int((~stacked.isfinite()).any(dim=1).sum())
    if broken:
        raise ModelError(
            f"the model gives outputs that are not finite (NaN) for {broken} of {len(known)} images"
        )
    return stacked, known, len(manifest) - len(known)


def _cells(counts: Any) -> list[tuple[tuple[int, int], int]]:
    rows, columns = counts.shape
    return [((row, column), counts[row, column]) for row in range(rows) for column in range(columns)]


def _torchmetrics() -> ModuleType:
    try:
        from torchmetrics.functional import classification
    except ImportError as error:
        raise InputError(
            f"evaluation needs an extra that is not installed ({error}): pip install 'camgate[training]'"
        ) from error
    return classification
