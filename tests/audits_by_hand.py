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

MODEL, DATA = "a" * 64, "b" * 64


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
