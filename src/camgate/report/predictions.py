"""How good the model's predictions and its confidence are: calibration and confusions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from camgate.audit.result import AuditResult
from camgate.audit.summary import accuracy
from camgate.report import svg, text

BINS = 10
MOST_CLASSES = 12
"""Classes of which the whole confusion matrix is shown; of more, the most frequent confusions."""
MOST_CONFUSIONS = 15


@dataclass(frozen=True)
class ConfusionCell:
    """Images of one class that are predicted as one class; `shade` 0..9 is its share of the class."""

    count: str
    share: str
    shade: int
    right: bool


@dataclass(frozen=True)
class Predictions:
    """What the section shows.

    Attributes:
        calibration: the diagram; None without a readable image.
        error: expected calibration error (Naeini 2015; Guo 2017, 10 equal bins), with its unit.
        classes: heads of the matrix; empty where there are too many classes.
        matrix: rows are classes, columns what they are predicted as.
        confusions: most frequent ones, as (class, predicted, images), where there is no matrix.
    """

    calibration: Markup | None
    error: str
    classes: tuple[str, ...]
    matrix: tuple[tuple[str, tuple[ConfusionCell, ...]], ...]
    confusions: tuple[tuple[str, str, str], ...]


def predictions(result: AuditResult) -> Predictions:
    """Calibration and confusions over the readable images."""
    scores = result.scores[result.scores["status"].ne("unreadable")]
    correct = scores["predicted"].eq(scores["label"]).to_numpy()
    diagram, error = _calibration(result)
    if len(result.classes) > MOST_CLASSES:
        wrong = scores[~correct].groupby(["label", "predicted"]).size().reset_index(name="images")
        often = tuple(
            (str(row["label"]), str(row["predicted"]), text.count(int(row["images"])))
            for row in wrong.nlargest(MOST_CONFUSIONS, "images").to_dict("records")
        )
        return Predictions(diagram, error, (), (), often)
    matrix = []
    for label in result.classes:
        of_class = scores[scores["label"].eq(label)]
        total = max(len(of_class), 1)
        counts = of_class["predicted"].value_counts()
        cells = tuple(
            ConfusionCell(
                text.count(amount := int(counts.get(name, 0))),
                text.number(amount / total, "percent") if len(of_class) else text.NOTHING,
                min(int(10 * amount / total), 9) if amount else 0,
                name == label,
            )
            for name in result.classes
        )
        matrix.append((label, cells))
    return Predictions(diagram, error, tuple(result.classes), tuple(matrix), ())


def _calibration(result: AuditResult) -> tuple[Markup | None, str]:
    """The diagram and the error; intervals take the group as the unit, like all others."""
    scores = result.scores
    confidence = scores["confidence"].to_numpy(dtype=np.float64)
    known = np.isfinite(confidence) & scores["status"].ne("unreadable").to_numpy()
    if not known.any():
        return None, text.NOTHING
    bins = np.minimum((np.nan_to_num(confidence) * BINS).astype(int), BINS - 1)
    points, error = [], 0.0
    for number in range(BINS):
        rows = np.flatnonzero(known & (bins == number))
        if len(rows):
            mean, found = float(confidence[rows].mean()), accuracy(result, rows)
            low, high = text.finite(found.low), text.finite(found.high)
            points.append(svg.Point(mean, found.value, low, high, len(rows)))
            error += len(rows) / known.sum() * abs(found.value - mean)
    said = text.number(error, "percent")
    return svg.calibration(points, name=f"Accuracy by confidence; expected calibration error {said}."), said
