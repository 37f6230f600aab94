"""Candidate and champion on the same images: differences image by image, so that hard images cancel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from camgate.audit.intervals import wilson
from camgate.audit.resampling import t_quantile
from camgate.audit.result import AuditResult
from camgate.audit.statistics import (
    Arm,
    Estimate,
    MeanSample,
    Sample,
    contrast_sample,
    detectable_excess,
    group_codes,
    mean_sample,
)
from camgate.audit.summary import Rows
from camgate.errors import InputError

Measure = Literal["accuracy", "invalid_activation", "background_gap"]
MEASURES: tuple[Measure, ...] = ("accuracy", "invalid_activation", "background_gap")
COLUMNS = ("measure", "candidate", "champion", "difference", "low", "high", "n", "groups", "detectable")


def compare(result: AuditResult, champion: AuditResult, *, level: float = 0.95) -> pd.DataFrame:
    """Paired differences of two audits of the same images.

    Args:
        result: audit of the candidate.
        champion: audit of the champion.
        level: two-sided coverage of the intervals.

    Returns:
        One row for each of `MEASURES`, with `COLUMNS`: both values on the `n` images that both audits have
        (accuracy: readable; invalid activation of the label's class: scored; background gap: recipients),
        the difference candidate - champion with its interval, and the smallest difference beyond a limit
        that these images would show with 80 % power. NaN, and n = 0, where nothing was measured in both.

    Raises:
        InputError: the audits are of different images.
    """
    pairs = Pairs(result, champion)
    rows = []
    for measure in MEASURES:
        estimate = pairs.sample(measure).at(level)
        numbers = estimate.value, estimate.low, estimate.high, estimate.n, estimate.groups
        rows.append((measure, *pairs.values(measure), *numbers, detectable_excess(estimate)))
    return pd.DataFrame(rows, columns=list(COLUMNS))


class Pairs:
    """Two audits as arrays, image by image; any part of the data is then quickly had.

    Rows are positions in the candidate's `scores`.
    """

    def __init__(self, result: AuditResult, champion: AuditResult) -> None:
        """Bring the champion's numbers into the candidate's order.

        Raises:
            InputError: the audits are of different images.
        """
        if result.data_digest != champion.data_digest:
            raise InputError(
                "Candidate and champion were audited on different images "
                f"(data digests {result.data_digest[:12]} and {champion.data_digest[:12]}): audit both on "
                "the same manifest."
            )
        self._ids = pd.Index(result.scores["image_id"])
        self._groups, _ = group_codes(result.scores["group"].to_numpy())
        self._seed = result.settings.seed
        both = [_per_image(audit, self._ids) for audit in (result, champion)]
        self._numbers = {measure: np.stack([numbers[measure] for numbers in both]) for measure in both[0]}
        self._composites = _composites(result, champion, self._ids, self._groups)

    def sample(self, measure: Measure, rows: Rows | None = None) -> Sample:
        """Prepare the interval of candidate - champion."""
        if measure == "background_gap":
            arms, images = self._arms(rows)
            return contrast_sample(list(zip(arms, _SIGNS, strict=True)), images=images, seed=self._seed)
        rows = self._measured(measure, rows)
        candidate, champion = self._numbers[measure][:, rows]
        sample = mean_sample(candidate - champion, self._groups[rows], bounds=(-1.0, 1.0), seed=self._seed)
        return _Discordant(sample) if measure == "accuracy" else sample

    def values(self, measure: Measure, rows: Rows | None = None) -> tuple[float, float]:
        """Those of the candidate and of the champion, on the images that `sample` rests on."""
        if measure == "background_gap":
            arms, images = self._arms(rows)
            if not images:
                return np.nan, np.nan
            means = [float(arm.outcome.mean()) for arm in arms]
            return means[0] - means[1], means[2] - means[3]
        numbers = self._numbers[measure][:, self._measured(measure, rows)]
        candidate, champion = numbers.mean(axis=1) if numbers.size else (np.nan, np.nan)
        return float(candidate), float(champion)

    def _measured(self, measure: Measure, rows: Rows | None) -> Rows:
        """The rows among these that both audits have a number for."""
        measured = np.isfinite(self._numbers[measure]).all(axis=0)
        return np.flatnonzero(measured) if rows is None else np.asarray(rows[measured[rows]])

    def _arms(self, rows: Rows | None) -> tuple[list[Arm], int]:
        """Both arms of the candidate, then of the champion; and the number of recipients."""
        table = self._composites if rows is None else self._composites[self._composites["row"].isin(rows)]
        kinds = [table[table["kind"].eq(kind)] for kind in range(len(_SIGNS))]
        arms = [
            Arm(*(part[column].to_numpy() for column in ("outcome", "recipient", "donor"))) for part in kinds
        ]
        return arms, table["row"].nunique()


@dataclass(frozen=True)
class _Discordant:
    """A mean of -1, 0 and 1 whose interval holds what this many images could have missed."""

    sample: MeanSample

    def at(self, level: float) -> Estimate:
        """The interval, at least Wilson's upper bound for 0 of n to each side."""
        found = self.sample.at(level)
        if found.groups < 2:
            return found
        slack = wilson(0.0, found.n, t_quantile((1 - level) / 2, found.groups - 1))[1]
        low, high = min(found.low, found.value - slack), max(found.high, found.value + slack)
        return replace(found, low=max(low, -1.0), high=min(high, 1.0))


_ARMS = ("same_class", "other_class")
_SIGNS = (1, -1, -1, 1)
"""Of the candidate's two arms and of the champion's, in the difference of their gaps."""


def _per_image(audit: AuditResult, ids: pd.Index) -> dict[str, np.ndarray]:
    """Numbers of each image in this order, NaN where there is none."""
    scores = audit.scores.set_index("image_id").reindex(ids)
    hits = scores["predicted"].eq(scores["label"]).to_numpy(dtype=np.float64)
    shares = scores["invalid_activation_label"].to_numpy(dtype=np.float64, na_value=np.nan)
    readable = (scores["status"].notna() & scores["status"].ne("unreadable")).to_numpy(dtype=bool)
    scored = scores["status"].eq("ok").to_numpy(dtype=bool)
    return {
        "accuracy": np.where(readable, hits, np.nan),
        "invalid_activation": np.where(scored, shares, np.nan),
    }


def _composites(
    result: AuditResult, champion: AuditResult, ids: pd.Index, groups: np.ndarray
) -> pd.DataFrame:
    """Composites of the recipients that have both arms in both audits.

    Columns: `row` of the recipient, `kind` (see `_SIGNS`), `outcome` (1 where the label was predicted),
    and the groups of `recipient` and `donor`.
    """
    labels = result.scores["label"].to_numpy()
    made = []
    for first, audit in ((0, result), (2, champion)):
        table = audit.interventions
        if table is None:
            return pd.DataFrame(columns=["row", "kind", "outcome", "recipient", "donor"])
        table = table[table["arm"].isin(_ARMS)]
        row, donor = (ids.get_indexer(pd.Index(table[column])) for column in ("image_id", "donor_id"))
        made.append(
            pd.DataFrame(
                {
                    "row": row,
                    "kind": first + table["arm"].eq(_ARMS[1]).to_numpy(dtype=int),
                    "outcome": (table["predicted"].to_numpy() == labels[row]).astype(float),
                    "recipient": groups[row],
                    "donor": groups[donor],
                }
            )
        )
    both = pd.concat(made, ignore_index=True)
    return both[both.groupby("row")["kind"].transform("nunique").eq(len(_SIGNS))]
