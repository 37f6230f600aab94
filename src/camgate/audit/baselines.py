"""What maps that know nothing of the model would score."""

from __future__ import annotations

import numpy as np
import pandas as pd

from camgate.audit.result import AuditSettings
from camgate.audit.scores import RegionGrid, centre_map


def baselines(
    scores: pd.DataFrame, maps: np.ndarray, regions: RegionGrid, settings: AuditSettings
) -> dict[str, float]:
    """Mean invalid activation of a uniform map, a centre map, and each map on another image's region."""
    scored = np.flatnonzero(scores["status"].eq("ok"))
    if not len(scored):
        return {"uniform": float("nan"), "centre": float("nan"), "shuffled": float("nan")}
    cells, tolerance = regions.take(scored), settings.tolerance
    rng = np.random.default_rng(settings.seed)
    partner = np.arange(len(scored))
    labels = scores["label"].to_numpy()[scored]
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        partner[members] = np.roll(members, 1)
    others = partner != np.arange(len(scored))
    shuffled = cells.take(partner[others]).invalid_share(maps[scored][others], tolerance)
    shuffled = shuffled[np.isfinite(shuffled)]
    return {
        "uniform": float(cells.invalid_share(np.ones(settings.map_size), tolerance).mean()),
        "centre": float(cells.invalid_share(centre_map(settings.map_size), tolerance).mean()),
        "shuffled": float(shuffled.mean()) if len(shuffled) else float("nan"),
    }
