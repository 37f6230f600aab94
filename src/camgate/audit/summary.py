"""From the tables of an audit to estimates, over any part of the data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from camgate.audit.result import AuditResult
from camgate.audit.statistics import (
    Arm,
    Estimate,
    Sample,
    gap_sample,
    group_codes,
    mean_sample,
    rate_sample,
)
from camgate.audit.swaps import swap_sample

Rows = NDArray[np.intp]
"""Positions of rows of `AuditResult.scores`."""


@dataclass(frozen=True)
class Gap:
    """The background gap over a part of the data.

    Attributes:
        estimate: accuracy of the same-class arm minus that of the other-class arm, -1..1.
        probability: the same for the probability of the label.
        original: accuracy on the untouched images of the same recipients, 0..1.
        same_class: accuracy of the same-class arm.
        other_class: accuracy of the other-class arm.
        donor_flips: share of the other-class composites that are taken for the donor's class, 0..1.
    """

    estimate: Estimate
    probability: Estimate
    donor_flips: Estimate
    original: float
    same_class: float
    other_class: float

    @property
    def damage(self) -> float:
        """What compositing alone costs: original minus same-class accuracy."""
        return self.original - self.same_class


def parts(result: AuditResult) -> dict[str, Rows]:
    """Positions of the rows of `result.scores` in each class and in each value of each named slice."""
    columns = [("class", "label"), *((column, column) for column in result.settings.slices)]
    found = {}
    for prefix, column in columns:
        inside = result.scores.groupby(result.scores[column].astype(object), sort=False).indices
        names = result.classes if column == "label" else sorted(inside, key=str)
        nothing = np.array([], dtype=np.intp)
        found.update({f"{prefix} {name}": np.sort(inside.get(name, nothing)) for name in names})
    return found


class Measures:
    """The score table of an audit as arrays, made once; any part of the data is then quickly had."""

    def __init__(self, result: AuditResult) -> None:
        """Take the columns out of the table."""
        scores = result.scores
        self._groups, _ = group_codes(scores["group"].to_numpy())
        self._scored = scores["status"].eq("ok").to_numpy()
        self._readable = scores["status"].ne("unreadable").to_numpy()
        self._hits = scores["predicted"].eq(scores["label"]).to_numpy(dtype=bool)
        self._numbers = {
            column: scores[column].to_numpy(dtype=np.float64, na_value=np.nan)
            for column in (
                "invalid_activation",
                "invalid_activation_label",
                "invalid_area",
                "peak_invalid",
            )
        }
        self._seed = result.settings.seed

    def activation(self, rows: Rows | None = None, *, column: str = "invalid_activation_label") -> Sample:
        """Prepare `activation`."""
        rows = self._with(column, rows)
        return mean_sample(self._numbers[column][rows], self._groups[rows], seed=self._seed)

    def lift(self, rows: Rows | None = None) -> Sample:
        """Prepare `lift`."""
        rows = self._with("invalid_activation_label", rows)
        areas = self._numbers["invalid_area"][rows]
        return mean_sample(
            self._numbers["invalid_activation_label"][rows],
            self._groups[rows],
            weights=areas,
            bounds=(0.0, 1.0 / max(float(areas.mean()), 1e-9) if len(areas) else 1.0),
            seed=self._seed,
        )

    def peak_rate(self, rows: Rows | None = None) -> Sample:
        """Prepare `peak_rate`."""
        rows = self._with("peak_invalid", rows)
        return rate_sample(self._numbers["peak_invalid"][rows], self._groups[rows])

    def accuracy(self, rows: Rows | None = None) -> Sample:
        """Prepare `accuracy`."""
        rows = np.flatnonzero(self._readable) if rows is None else rows[self._readable[rows]]
        return rate_sample(self._hits[rows], self._groups[rows])

    def _with(self, column: str, rows: Rows | None) -> Rows:
        """The scored rows among these that have a number."""
        rows = np.arange(len(self._scored)) if rows is None else rows
        return np.asarray(rows[self._scored[rows] & ~np.isnan(self._numbers[column][rows])])


def activation(
    result: AuditResult,
    rows: Rows | None = None,
    *,
    column: str = "invalid_activation_label",
    level: float = 0.95,
) -> Estimate:
    """Mean share of positive heatmap mass on invalid pixels, 0..1.

    By default of the map of the label's class. The map of a wrongly predicted `empty` lies on the
    background, rightly so: a wrong prediction is the accuracy check's business.
    """
    return Measures(result).activation(rows, column=column).at(level)


def lift(result: AuditResult, rows: Rows | None = None, *, level: float = 0.95) -> Estimate:
    """Invalid activation (label's class) over what a uniform map would score: a ratio of means, >= 0."""
    return Measures(result).lift(rows).at(level)


def peak_rate(result: AuditResult, rows: Rows | None = None, *, level: float = 0.95) -> Estimate:
    """Share of scored images whose map peaks on invalid pixels (pointing game), 0..1."""
    return Measures(result).peak_rate(rows).at(level)


def accuracy(result: AuditResult, rows: Rows | None = None, *, level: float = 0.95) -> Estimate:
    """Share of readable images whose label is predicted, 0..1."""
    return Measures(result).accuracy(rows).at(level)


class Composites:
    """The interventions of an audit as arrays, made once; any part of the data is then quickly had."""

    def __init__(self, result: AuditResult) -> None:
        """Look up each composite's image and donor."""
        table = result.interventions if result.interventions is not None else pd.DataFrame(columns=_COLUMNS)
        everyone = pd.Series(np.arange(len(result.scores)), index=result.scores["image_id"].to_numpy())
        image = table["image_id"].map(everyone).to_numpy(dtype=np.intp)
        order = np.argsort(image, kind="stable")
        table = table.iloc[order]
        groups, _ = group_codes(result.scores["group"].to_numpy())
        donor = table["donor_id"].map(everyone).fillna(-1).to_numpy(dtype=np.intp)
        self._image = image[order]
        self._arm = table["arm"].to_numpy()
        self._recipient = groups[self._image]
        self._predicted = table["predicted"].to_numpy()
        self._groups = groups
        self._donor = np.where(donor < 0, -1, groups[donor])
        labels = result.scores["label"].to_numpy()
        self._outcomes = {
            "donor_class": (donor >= 0) & (table["predicted"].to_numpy() == labels[donor]),
            "correct": (table["predicted"].to_numpy() == labels[self._image]).astype(float),
            "target_probability": table["target_probability"].to_numpy(dtype=np.float64),
        }
        self._seed = result.settings.seed

    def sample(self, rows: Rows | None = None, *, column: str = "correct") -> Sample | None:
        """Prepare the gap of these rows' images; None where no composite was made of them."""
        chosen = self._of(rows)
        if not len(chosen):
            return None
        same, other = (self._arm_of(chosen, arm, column) for arm in ("same_class", "other_class"))
        inside = chosen[self._arm[chosen] == "same_class"]
        return gap_sample(same, other, images=len(np.unique(self._image[inside])), seed=self._seed)

    def gap(self, rows: Rows | None = None, *, level: float = 0.95) -> Gap | None:
        """The background gap of these rows' images; None where no composite was made of them."""
        correct = self.sample(rows)
        probability = self.sample(rows, column="target_probability")
        if correct is None or probability is None:
            return None
        chosen = self._of(rows)
        with np.errstate(invalid="ignore"):
            means = [
                float(pd.Series(self._arm_of(chosen, arm, "correct").outcome).mean())
                for arm in ("original", "same_class", "other_class")
            ]
        other = chosen[self._arm[chosen] == "other_class"]
        taken = swap_sample(
            self._outcomes["donor_class"][other].astype(np.float64),
            self._image[other],
            self._groups,
            self._donor[other, None],
            seed=self._seed,
        )
        return Gap(correct.at(level), probability.at(level), taken.at(level), *means)

    def flips(self, rows: Rows | None = None) -> Sample | None:
        """Chance that two swapped backgrounds of an image give different predictions; None without any.

        Unlike the gap it needs no correlation in the audited data: a model that reads a mark changes its
        mind with the mark, whether or not the mark goes with the class.
        """
        image, differ, donors = self._pairs
        if rows is not None:
            inside = np.isin(image, rows)
            image, differ, donors = image[inside], differ[inside], donors[inside]
        return swap_sample(differ, image, self._groups, donors, seed=self._seed) if len(image) else None

    @cached_property
    def _pairs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pairs of swapped backgrounds of an image: the image, whether predictions differ, donors' groups."""
        swapped = np.flatnonzero(self._arm != "original")
        image, found = self._image[swapped], []
        for step in range(1, int(np.bincount(image).max()) if len(image) else 1):
            left = np.flatnonzero(image[:-step] == image[step:])
            found.append((swapped[left], swapped[left + step]))
        one, two = (
            (np.concatenate(side) for side in zip(*found, strict=True)) if found else (swapped[:0],) * 2
        )
        differ = (self._predicted[one] != self._predicted[two]).astype(np.float64)
        return self._image[one], differ, np.stack([self._donor[one], self._donor[two]], axis=1)

    def _of(self, rows: Rows | None) -> np.ndarray:
        """Composites of some images: the tables are sorted by image, so each image's are side by side."""
        if rows is None:
            return np.arange(len(self._image))
        first, last = (np.searchsorted(self._image, rows, side=side) for side in _SIDES)
        counts = last - first
        return np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())

    def _arm_of(self, chosen: np.ndarray, arm: str, column: str) -> Arm:
        inside = chosen[self._arm[chosen] == arm]
        return Arm(self._outcomes[column][inside], self._recipient[inside], self._donor[inside])


_COLUMNS = ("image_id", "arm", "draw", "donor_id", "predicted", "target_probability")
_SIDES: tuple[Literal["left", "right"], ...] = ("left", "right")


def background_gap(result: AuditResult, rows: Rows | None = None, *, level: float = 0.95) -> Gap | None:
    """The background gap; None where no composite was made for these rows."""
    return Composites(result).gap(rows, level=level)


def summarise(result: AuditResult) -> dict[str, float]:
    """Flat numbers of an audit, as they are logged under `audit/`; what was not measured is left out."""
    scored = result.scores["status"].eq("ok")
    numbers: dict[str, float] = {"n": len(result.scores), "n_scored": int(scored.sum())}

    def put(name: str, estimate: Estimate, *, value_name: str | None = None) -> None:
        numbers[value_name or name] = estimate.value
        numbers[f"{name}_ci_low"], numbers[f"{name}_ci_high"] = estimate.low, estimate.high

    for column in ("invalid_activation", "invalid_activation_label"):
        put(column, activation(result, column=column), value_name=f"{column}_mean")
    put("invalid_lift", lift(result))
    put("peak_invalid_rate", peak_rate(result))
    put("accuracy", accuracy(result))
    composites = Composites(result)
    gap, flips = composites.gap(), composites.flips()
    if flips is not None:
        put("background_flips", flips.at(0.95))
    if gap is not None:
        put("background_gap", gap.estimate)
        put("background_gap_probability", gap.probability)
        put("donor_flip_rate", gap.donor_flips)
        numbers["accuracy_original"] = gap.original
        numbers["accuracy_same_class"] = gap.same_class
        numbers["accuracy_other_class"] = gap.other_class
    numbers["fixed_places"] = sum(cluster.fixed_place for cluster in result.clusters)
    for name in ("similarity", "high", "between_images", "ssim", "dead"):
        value = getattr(result.sanity, name, None)
        if value is not None:
            numbers["sanity_ci_high" if name == "high" else f"sanity_{name}"] = value
    numbers.update({f"baseline_{name}": value for name, value in result.baselines.items()})
    for status, count in result.scores["status"].value_counts().items():
        numbers[f"n_{status}"] = int(count)
    return {name: value for name, value in numbers.items() if math.isfinite(value)}
