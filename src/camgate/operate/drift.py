"""Do new data differ from those that the champion was made on? Pure functions on their statistics.

A difference counts when a test shows it *and* it is large: with many images the smallest one is significant,
with few a large one may be chance. The tests, one image a group:

* label balance: chi-square test of homogeneity; effect: population stability index (PSI), the symmetrised
  Kullback-Leibler divergence of the two distributions, half an image added to each label;
* missing regions, label by label: Fisher's exact test; effect: difference of the two shares;
* each number of the pictures (size, brightness, contrast, sharpness, saturation): two-sample
  Kolmogorov-Smirnov test; effect: its statistic, the largest distance of the two distribution functions.

All p values together are corrected after Holm 1979.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy import stats

from camgate.errors import some_of
from camgate.operate.statistics import PICTURE_NUMBERS, DataStatistics
from camgate.report.text import plain

FEWEST = 5
"""Values on either side below which a test is left out: nothing could be shown."""


class DriftLimits(BaseModel):
    """When data have drifted, and what follows.

    Attributes:
        on_drift: `warn` goes on and says so; `block` trains nothing until somebody has looked.
        alpha: level of all tests together, after Holm's correction.
        max_psi: of the label balance; 0.2 is the usual mark of a shift that calls for action.
        max_distance: Kolmogorov-Smirnov distance of a number of the pictures, 0..1.
        max_missing: difference of the shares of images without a region, 0..1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    on_drift: Literal["warn", "block"] = "warn"
    alpha: float = Field(default=0.01, gt=0, lt=1)
    max_psi: float = Field(default=0.2, ge=0)
    max_distance: float = Field(default=0.3, ge=0, le=1)
    max_missing: float = Field(default=0.05, ge=0, le=1)


class DriftTest(BaseModel):
    """One comparison.

    Attributes:
        name: `label_balance`, `missing_regions <label>`, or one of `PICTURE_NUMBERS`.
        test: by which.
        effect: how large the difference is, in the measure of the test.
        limit: above which it counts.
        p, p_corrected: of the test; after Holm's correction.
        drifted: significant and large.
        message: in plain words.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    test: str
    effect: float
    limit: float
    p: float
    p_corrected: float
    drifted: bool
    message: str


class Drift(BaseModel):
    """New data held against the reference.

    Attributes:
        status: `no_reference`, `same` or `drifted`.
        tests: all of them.
        new_labels, gone_labels: labels on one side only; either is drift.
        sentence: the outcome in plain words.
        on_drift: as the limits said.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: Literal["no_reference", "same", "drifted"]
    sentence: str
    tests: tuple[DriftTest, ...] = ()
    new_labels: tuple[str, ...] = ()
    gone_labels: tuple[str, ...] = ()
    on_drift: Literal["warn", "block"] = "warn"

    @property
    def blocks(self) -> bool:
        """Whether nothing should be trained on these data before somebody has looked."""
        return self.status == "drifted" and self.on_drift == "block"

    def metrics(self) -> dict[str, float]:
        """The effects, and how many of them count."""
        return {test.name: test.effect for test in self.tests} | {
            "drifted": float(sum(test.drifted for test in self.tests))
        }


def compare_data(
    new: DataStatistics, reference: DataStatistics | None, limits: DriftLimits | None = None
) -> Drift:
    """Hold new data against the reference.

    Args:
        new: of the data to train on.
        reference: of the data that the champion was made on; None where there is none.
        limits: None takes the defaults.
    """
    limits = limits or DriftLimits()
    if reference is None:
        sentence = "There are no data to compare with: no champion has any on record."
        return Drift(status="no_reference", sentence=sentence, on_drift=limits.on_drift)
    found = [
        *_label_balance(new, reference, limits),
        *_missing_regions(new, reference, limits),
        *_pictures(new, reference, limits),
    ]
    corrected = holm([test.p for test in found])
    tests = tuple(
        test.model_copy(update={"p_corrected": p, "drifted": p <= limits.alpha and test.effect > test.limit})
        for test, p in zip(found, corrected, strict=True)
    )
    fresh = tuple(sorted(set(new.labels) - set(reference.labels)))
    gone = tuple(sorted(set(reference.labels) - set(new.labels)))
    said = [test.message for test in tests if test.drifted]
    said += [f"labels that are new: {some_of(fresh)}"] if fresh else []
    said += [f"labels that are gone: {some_of(gone)}"] if gone else []
    drifted = bool(said)
    return Drift(
        status="drifted" if drifted else "same",
        sentence=f"The data have drifted: {'; '.join(said)}."
        if drifted
        else f"The data resemble the champion's in all of {len(tests)} tests.",
        tests=tests,
        new_labels=fresh,
        gone_labels=gone,
        on_drift=limits.on_drift,
    )


def holm(values: Iterable[float]) -> list[float]:
    """P values corrected for their number (Holm 1979), in the order given."""
    raw = np.asarray(list(values), dtype=np.float64)
    order = np.argsort(raw, kind="stable")
    steps = np.maximum.accumulate(raw[order] * np.arange(len(raw), 0, -1))
    corrected = np.empty_like(raw)
    corrected[order] = np.minimum(steps, 1.0)
    return [float(value) for value in corrected]


def stability_index(new: Mapping[str, int], reference: Mapping[str, int]) -> float:
    """Population stability index of two sets of counts, >= 0; half an image is added to each label."""
    labels = sorted(set(new) | set(reference))
    counts = np.array([[side.get(label, 0) + 0.5 for label in labels] for side in (new, reference)])
    shares = counts / counts.sum(axis=1, keepdims=True)
    return float(((shares[0] - shares[1]) * np.log(shares[0] / shares[1])).sum())


def _label_balance(
    new: DataStatistics, reference: DataStatistics, limits: DriftLimits
) -> Iterable[DriftTest]:
    labels = sorted(set(new.labels) | set(reference.labels))
    if len(labels) < 2 or min(new.groups, reference.groups) < FEWEST:
        return
    table = np.array([[side.labels.get(label, 0) for label in labels] for side in (new, reference)])
    p = float(stats.chi2_contingency(table, correction=False).pvalue)
    shares = table / table.sum(axis=1, keepdims=True)
    most = int(np.argmax(np.abs(shares[0] - shares[1])))
    message = (
        f"label balance: {labels[most]!r} was {_percent(shares[1, most])} of the data and is "
        f"{_percent(shares[0, most])}"
    )
    psi = stability_index(new.labels, reference.labels)
    yield _test("label_balance", "chi-square, PSI", psi, limits.max_psi, p, message)


def _missing_regions(
    new: DataStatistics, reference: DataStatistics, limits: DriftLimits
) -> Iterable[DriftTest]:
    for label in sorted(set(new.labels) & set(reference.labels)):
        sides = [(side.without_region.get(label, 0), side.labels[label]) for side in (new, reference)]
        if min(count for _, count in sides) < FEWEST:
            continue
        p = float(stats.fisher_exact([[missing, count - missing] for missing, count in sides])[1])
        now, before = (missing / count for missing, count in sides)
        message = f"images of {label!r} without a region: {_percent(before)} before, {_percent(now)} now"
        name = f"missing_regions {label}"
        yield _test(name, "Fisher, difference", abs(now - before), limits.max_missing, p, message)


def _pictures(new: DataStatistics, reference: DataStatistics, limits: DriftLimits) -> Iterable[DriftTest]:
    for name in PICTURE_NUMBERS:
        sides = [np.asarray(side.pictures.get(name, ()), dtype=np.float64) for side in (new, reference)]
        if min(len(side) for side in sides) < FEWEST:
            continue
        found = stats.ks_2samp(*sides, method="auto")
        now, before = (float(np.median(side)) for side in sides)
        message = f"{name} of the pictures: median {before:.3g} before, {now:.3g} now"
        test = "Kolmogorov-Smirnov"
        yield _test(name, test, float(found.statistic), limits.max_distance, float(found.pvalue), message)


def _test(name: str, test: str, effect: float, limit: float, p: float, message: str) -> DriftTest:
    return DriftTest(
        name=name, test=test, effect=effect, limit=limit, p=p, p_corrected=p, drifted=False, message=message
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def drift_table(drift: Drift) -> str:
    """The comparison as Markdown."""
    lines = [drift.sentence, ""]
    if drift.tests:
        lines += ["| what | test | effect | limit | p (Holm) | drifted |", "|---|---|---|---|---|---|"]
    for test in drift.tests:
        lines.append(
            f"| {plain(test.name)} | {test.test} | {test.effect:.3f} | {test.limit:g} | "
            f"{test.p_corrected:.2g} | {'yes' if test.drifted else 'no'} |".replace("\n", " ")
        )
    return "\n".join(lines) + "\n"
