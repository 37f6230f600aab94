"""Audits made by hand, so that every verdict can be forced."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from camgate.audit.result import AuditResult, AuditSettings
from camgate.audit.runner import derive_seed
from camgate.audit.sanity import Sanity

MODEL, DATA = "a" * 64, "b" * 64
SANE = Sanity(similarity=0.05, low=-0.1, high=0.2, per_seed=(0.0, 0.1), images=64, dead=0.0)


def make_audit(
    *,
    activation: float = 0.05,
    spread: float = 0.02,
    accuracy: float = 1.0,
    same: float = 0.99,
    other: float = 0.99,
    original: float = 1.0,
    per_class: int = 60,
    groups: int = 20,
    classes: tuple[str, ...] = ("cat", "dog"),
    sanity: Sanity | None = SANE,
    **settings: Any,
) -> AuditResult:
    """An audit in which each number is what it is asked to be."""
    rng = np.random.default_rng(0)
    rows, swaps = [], []
    for label in classes:
        for number in range(per_class):
            image_id = f"{label}-{number}"
            share = float(np.clip(rng.normal(activation, spread), 0, 1))
            hit = (number + 0.5) / per_class < accuracy
            other_class = classes[(classes.index(label) + 1) % len(classes)]
            rows.append(
                {
                    "image_id": image_id,
                    "label": label,
                    "predicted": label if hit else other_class,
                    "confidence": 0.9,
                    "target": label,
                    "invalid_activation": share,
                    "invalid_activation_label": share,
                    "invalid_area": 0.5,
                    "invalid_area_raw": 0.8,
                    "invalid_lift": share / 0.5,
                    "peak_invalid": float(share > 0.5),
                    "status": "ok",
                    "group": f"g{number % groups}",
                    "split": "test",
                }
            )
            for arm, rate in (("original", original), ("same_class", same), ("other_class", other)):
                for draw in range(1 if arm == "original" else 3):
                    donor = (
                        f"{label if arm == 'same_class' else other_class}-{(number + 1 + draw) % per_class}"
                    )
                    right = rng.random() < rate
                    swaps.append(
                        {
                            "image_id": image_id,
                            "arm": arm,
                            "draw": draw,
                            "donor_id": None if arm == "original" else donor,
                            "predicted": label if right else other_class,
                            "target_probability": 0.9 if right else 0.1,
                        }
                    )
    made = {
        "method": "gradcam",
        "method_requested": "auto",
        "target_layer": "layer4",
        "target_layer_reason": "the last stage",
        "target_layer_rule": "auto",
        "map_size": (8, 8),
        "target": "predicted",
        "tolerance": 1,
        "interventions": True,
        "draws": 3,
        "fill": "inpaint",
        "margin": 0.05,
        "seed": derive_seed(MODEL, DATA),
        "max_interventions": 1000,
        **settings,
    }
    return AuditResult(
        settings=AuditSettings(**made),
        classes=classes,
        model_digest=MODEL,
        data_digest=DATA,
        scores=pd.DataFrame(rows),
        interventions=pd.DataFrame(swaps) if made["interventions"] else None,
        baselines={"uniform": 0.5, "centre": 0.4, "shuffled": 0.4},
        sanity=sanity,
        created="2026-01-01T00:00:00+00:00",
    )


@pytest.fixture
def edit() -> Callable[..., AuditResult]:
    """Change the scores of an audit: `edit(result, rows, column=value)`."""

    def change(result: AuditResult, rows: Any, **columns: Any) -> AuditResult:
        scores = result.scores.copy()
        for column, value in columns.items():
            scores.loc[rows, column] = value
        return replace(result, scores=scores)

    return change


def make_large_audit(
    classes: int = 1000,
    rows: int = 50_000,
    *,
    groups_per_class: int = 25,
    activation: float = 0.1,
    spread: float = 0.05,
    accuracy: float = 0.95,
    gap: float = 0.0,
    recipients: int = 1000,
    bad: int = 0,
    seed: int = 0,
    **settings: Any,
) -> AuditResult:
    """An audit of many classes, made column by column so that its size costs nothing.

    Args:
        classes: number of classes, with names like `n00017 thing`.
        rows: images, spread evenly.
        groups_per_class: groups inside each class; a group's images are alike.
        activation: mean invalid activation of the good classes.
        spread: its standard deviation over groups; within a group half of that.
        accuracy: share predicted right.
        gap: accuracy lost in the other-class arm.
        recipients: images with swapped backgrounds.
        bad: the last so many classes light up outside the object (0.45) instead.
        seed: of the numbers.
        settings: as in `make_audit`.
    """
    rng = np.random.default_rng(seed)
    names = np.array([f"n{number:05d} thing" for number in range(classes)], dtype=object)
    label = np.arange(rows) % classes
    group = label * groups_per_class + (np.arange(rows) // classes) % groups_per_class
    centre = np.where(np.arange(classes) >= classes - bad, 0.45, activation)
    effect = spread * rng.standard_normal(classes * groups_per_class)
    share = np.clip(centre[label] + effect[group] + spread / 2 * rng.standard_normal(rows), 0, 1)
    hit = rng.random(rows) < accuracy
    other = (label + rng.integers(1, classes, rows)) % classes
    scores = pd.DataFrame(
        {
            "image_id": [f"{name}/{number:06d}" for number, name in enumerate(names[label])],
            "label": names[label],
            "predicted": names[np.where(hit, label, other)],
            "confidence": rng.uniform(0.5, 1.0, rows),
            "target": names[label],
            "invalid_activation": share,
            "invalid_activation_label": share,
            "invalid_area": 0.5,
            "invalid_area_raw": 0.8,
            "invalid_lift": share / 0.5,
            "peak_invalid": (share > 0.3).astype(float),
            "status": "ok",
            "group": [f"g{number}" for number in group],
            "split": "test",
        }
    )
    ids = scores["image_id"].to_numpy()
    recipients = min(recipients, rows)
    chosen = np.sort(rng.permutation(rows)[:recipients])
    swaps = []
    for arm, draws, rate in (("original", 1, 1.0), ("same_class", 3, 0.99), ("other_class", 3, 0.99 - gap)):
        row = np.repeat(chosen, draws)
        right = rng.random(len(row)) < rate
        donor = (
            row + (classes if arm == "same_class" else 1) * (1 + np.tile(np.arange(draws), recipients))
        ) % rows
        swaps.append(
            pd.DataFrame(
                {
                    "image_id": ids[row],
                    "arm": arm,
                    "draw": np.tile(np.arange(draws), recipients),
                    "donor_id": None if arm == "original" else ids[donor],
                    "predicted": np.where(right, names[label[row]], names[other[row]]),
                    "target_probability": np.where(right, 0.9, 0.1),
                }
            )
        )
    small = make_audit(per_class=1, **settings)
    return replace(
        small,
        classes=tuple(names),
        scores=scores,
        interventions=pd.concat(swaps, ignore_index=True) if small.settings.interventions else None,
    )
