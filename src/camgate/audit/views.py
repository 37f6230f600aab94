"""Pictures of what an audit did, kept for the eye: averages of classes, and swapped backgrounds."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import cv2
import numpy as np
import pandas as pd

from camgate.data.images import to_rgb
from camgate.data.sampling import even_sample

CLASSES = 12
"""Classes of which an average is kept: those with the most invalid activation first."""
PER_CLASS = 12
"""Images in an average; the maps of all are in it."""
AVERAGE_SIDE = 96
EXAMPLE_SIDE = 224
EXAMPLES = 6
"""Examples of swapped backgrounds of each kind."""


@dataclass(frozen=True)
class ClassAverage:
    """Where the model looks in a class.

    Attributes:
        label: the class.
        images: whose maps are in the average.
        image: uint8 `(H, W, 3)`, mean of at most `PER_CLASS` of its images.
        heatmap: float32 `(h, w)`, mean of the maps, each scaled to a mass of 1.
    """

    label: str
    images: int
    image: np.ndarray
    heatmap: np.ndarray


@dataclass(frozen=True)
class SwapExample:
    """One image on its own background and on two others.

    Attributes:
        image_id: of the recipient.
        label: its class.
        kind: `changed` (the largest loss of the label's probability on a background of another class) or
            `sample` (at random).
        donors: image ids of the same-class and of the other-class donor.
        predicted: on the original, the same-class and the other-class background.
        probability: of the label, in the same order, 0..1.
        pictures: uint8 `(3, H, W, 3)`, the same order.
    """

    image_id: str
    label: str
    kind: Literal["changed", "sample"]
    donors: tuple[str, str]
    predicted: tuple[str, str, str]
    probability: tuple[float, float, float]
    pictures: np.ndarray


def class_averages(
    image: Callable[[int], np.ndarray], scores: pd.DataFrame, maps: np.ndarray, *, seed: int
) -> tuple[ClassAverage, ...]:
    """The average image and map of the classes where the model looks off the object most.

    Args:
        image: row number -> uint8 `(H, W, C)`.
        scores: the audit's table, rows in the order of the maps.
        maps: float `(n, h, w)`, raw maps.
        seed: of the sample.
    """
    total = maps.sum(axis=(1, 2), dtype=np.float64)
    alive = np.isfinite(total) & (total > 0) & scores["status"].ne("unreadable").to_numpy()
    labels = scores["label"].to_numpy().astype(str)
    by_class = scores.loc[alive, "invalid_activation"].astype(float).groupby(labels[alive]).mean()
    worst = by_class.sort_values(ascending=False, na_position="last", kind="stable").index[:CLASSES]
    found = []
    order = even_sample(scores[alive], most=len(scores), seed=seed).to_numpy()  # as elsewhere: read once
    for label in worst:
        rows = np.flatnonzero(alive & (labels == label))
        chosen = order[labels[order] == label][:PER_CLASS]
        thumbs = [_small(to_rgb(image(int(row))), AVERAGE_SIDE).astype(np.float64) for row in chosen]
        heat = (maps[rows] / total[rows, None, None]).mean(axis=0)
        mean = np.rint(np.mean(thumbs, axis=0)).astype(np.uint8)
        found.append(ClassAverage(str(label), len(rows), mean, heat.astype(np.float32)))
    return tuple(found)


@dataclass
class SwapExamples:
    """Collects examples while the composites pass by; holds a few pictures, however many pass.

    Attributes:
        seed: of the random ones.
        most: of each kind.
    """

    seed: int
    most: int = EXAMPLES
    _changed: list[tuple[float, int, SwapExample]] = field(default_factory=list)
    _sample: list[tuple[float, int, SwapExample]] = field(default_factory=list)
    _number: int = 0

    def __post_init__(self) -> None:
        self._chance = np.random.default_rng(self.seed)

    def see(self, example: Callable[[], SwapExample], loss: float) -> None:
        """Offer one.

        Args:
            example: makes it; called only if it is kept.
            loss: of the label's probability, same-class minus other-class background.
        """
        self._number += 1
        made: SwapExample | None = None
        for heap, rank in ((self._changed, loss), (self._sample, float(self._chance.random()))):
            if heap is self._changed and loss <= 0:
                continue
            if len(heap) < self.most or rank > heap[0][0]:
                made = made or example()
                entry = (rank, -self._number, made)
                (heapq.heappush if len(heap) < self.most else heapq.heapreplace)(heap, entry)

    def kept(self) -> tuple[SwapExample, ...]:
        """The largest losses first, then the random ones."""
        changed = [entry[2] for entry in sorted(self._changed, key=lambda entry: (-entry[0], -entry[1]))]
        sample = [entry[2] for entry in sorted(self._sample, key=lambda entry: (-entry[0], -entry[1]))]
        return (*(_as(each, "changed") for each in changed), *(_as(each, "sample") for each in sample))


def small_pictures(*images: np.ndarray) -> np.ndarray:
    """Images of one size as uint8 `(n, H, W, 3)`, at most `EXAMPLE_SIDE` on their longer side."""
    return np.stack([_small(to_rgb(image), EXAMPLE_SIDE) for image in images])


def _as(example: SwapExample, kind: Literal["changed", "sample"]) -> SwapExample:
    return SwapExample(**{**example.__dict__, "kind": kind})


def _small(image: np.ndarray, side: int) -> np.ndarray:
    factor = side / max(image.shape[:2])
    if factor >= 1:
        return image
    size = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
