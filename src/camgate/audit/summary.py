"""From the tables of an audit to estimates, over any part of the data."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from camgate.audit.result import AuditResult
from camgate.audit.statistics import Arm, Estimate, gap_estimate, group_codes, mean_estimate, rate_estimate


@dataclass(frozen=True)
class Gap:
    """The background gap over a part of the data.

    Attributes:
        estimate: accuracy of the same-class arm minus that of the other-class arm, -1..1.
        probability: the same for the probability of the label.
        original: accuracy on the untouched images of the same recipients, 0..1.
        same_class: accuracy of the same-class arm.
        other_class: accuracy of the other-class arm.
    """

    estimate: Estimate
    probability: Estimate
    original: float
    same_class: float
    other_class: float

    @property
    def damage(self) -> float:
        """What compositing alone costs: original minus same-class accuracy."""
        return self.original - self.same_class


def parts(result: AuditResult) -> dict[str, pd.Series]:
    """Boolean row masks of `result.scores`: one per class, and one per value of each named slice."""
    scores = result.scores
    masks = {f"class {label}": scores["label"].eq(label) for label in result.classes}
    for column in result.settings.slices:
        for value in sorted(scores[column].dropna().unique(), key=str):
            masks[f"{column} {value}"] = scores[column].eq(value)
    return masks


def _scored(result: AuditResult, rows: pd.Series | None) -> pd.DataFrame:
    scores = result.scores[result.scores["status"].eq("ok")]
    return scores if rows is None else scores[rows.loc[scores.index]]


def activation(
    result: AuditResult,
    rows: pd.Series | None = None,
    *,
    column: str = "invalid_activation_label",
    level: float = 0.95,
) -> Estimate:
    """Mean share of positive heatmap mass on invalid pixels, 0..1.

    By default of the map of the label's class. The map of a wrongly predicted `empty` lies on the
    background, rightly so: a wrong prediction is the accuracy check's business.
    """
    scored = _scored(result, rows)
    scored = scored[scored[column].notna()]
    values, groups = scored[column].to_numpy(), scored["group"].to_numpy()
    return mean_estimate(values, groups, level=level, seed=result.settings.seed)


def lift(result: AuditResult, rows: pd.Series | None = None, *, level: float = 0.95) -> Estimate:
    """Invalid activation (label's class) over what a uniform map would score: a ratio of means, >= 0."""
    scored = _scored(result, rows)
    scored = scored[scored["invalid_activation_label"].notna()]
    return mean_estimate(
        scored["invalid_activation_label"].to_numpy(),
        scored["group"].to_numpy(),
        weights=scored["invalid_area"].to_numpy(),
        bounds=(0.0, 1.0 / max(float(scored["invalid_area"].mean()), 1e-9) if len(scored) else 1.0),
        level=level,
        seed=result.settings.seed,
    )


def peak_rate(result: AuditResult, rows: pd.Series | None = None, *, level: float = 0.95) -> Estimate:
    """Share of scored images whose map peaks on invalid pixels (pointing game), 0..1."""
    scored = _scored(result, rows)
    return rate_estimate(scored["peak_invalid"].to_numpy(), scored["group"].to_numpy(), level=level)


def accuracy(result: AuditResult, rows: pd.Series | None = None, *, level: float = 0.95) -> Estimate:
    """Share of readable images whose label is predicted, 0..1."""
    scores = result.scores if rows is None else result.scores[rows]
    scores = scores[scores["status"].ne("unreadable")]
    hits = scores["predicted"].eq(scores["label"]).to_numpy()
    return rate_estimate(hits, scores["group"].to_numpy(), level=level)


def background_gap(result: AuditResult, rows: pd.Series | None = None, *, level: float = 0.95) -> Gap | None:
    """The background gap; None where no composite was made for these rows."""
    if result.interventions is None:
        return None
    scores = result.scores if rows is None else result.scores[rows]
    everyone = result.scores.set_index("image_id")
    table = result.interventions[result.interventions["image_id"].isin(scores["image_id"])]
    if table.empty:
        return None
    codes, _ = group_codes(everyone["group"].to_numpy())
    code = pd.Series(codes, index=everyone.index)
    label = table["image_id"].map(everyone["label"])
    table = table.assign(
        correct=table["predicted"].eq(label).astype(float), recipient=table["image_id"].map(code)
    )
    arms = {arm: table[table["arm"].eq(arm)] for arm in ("original", "same_class", "other_class")}
    images = int(arms["same_class"]["image_id"].nunique())

    def estimate(column: str) -> Estimate:
        same, other = (
            Arm(
                outcome=arms[arm][column].to_numpy(),
                recipient=arms[arm]["recipient"].to_numpy(),
                donor=arms[arm]["donor_id"].map(code).to_numpy(),
            )
            for arm in ("same_class", "other_class")
        )
        return gap_estimate(same, other, images=images, level=level, seed=result.settings.seed)

    return Gap(
        estimate=estimate("correct"),
        probability=estimate("target_probability"),
        original=float(arms["original"]["correct"].mean()),
        same_class=float(arms["same_class"]["correct"].mean()),
        other_class=float(arms["other_class"]["correct"].mean()),
    )


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
    gap = background_gap(result)
    if gap is not None:
        put("background_gap", gap.estimate)
        put("background_gap_probability", gap.probability)
        numbers["accuracy_original"] = gap.original
        numbers["accuracy_same_class"] = gap.same_class
        numbers["accuracy_other_class"] = gap.other_class
    numbers.update({f"baseline_{name}": value for name, value in result.baselines.items()})
    for status, count in result.scores["status"].value_counts().items():
        numbers[f"n_{status}"] = int(count)
    return {name: value for name, value in numbers.items() if math.isfinite(value)}
