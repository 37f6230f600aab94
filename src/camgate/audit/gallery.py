"""Which images are kept for the eye, and which are looked at where a sample will do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from camgate.audit.causal import Images
from camgate.audit.result import GalleryItem
from camgate.data.images import to_rgb
from camgate.data.sampling import even_sample


def make_gallery(
    images: Images,
    scores: pd.DataFrame,
    maps: np.ndarray,
    worst: int,
    sample: int,
    seed: int,
    typical: Sequence[int] = (),
) -> tuple[GalleryItem, ...]:
    """Pictures of the worst images, of a random sample spread evenly over the classes, and of `typical` rows.

    Args:
        images: access by row number.
        scores: the audit's table.
        maps: float `(n, h, w)`, raw maps, in its order.
        worst: highest invalid activations, so many at most.
        sample: at random, so many at most.
        seed: of the sample.
        typical: the row that stands for each cluster of maps.
    """
    shown = scores[scores["status"].isin(["ok", "dead_map", "below_resolution", "no_region"])]
    ranked = scores[scores["status"].eq("ok")].sort_values(
        "invalid_activation", ascending=False, kind="stable"
    )
    items = []
    kinds: tuple[tuple[Literal["worst", "sample", "cluster"], Iterable[int]], ...] = (
        ("worst", ranked.index[:worst]),
        ("sample", even_sample(shown, most=sample, seed=seed)),
        ("cluster", typical),
    )
    for kind, rows in kinds:
        for rank, row in enumerate(rows):
            view = images(int(row))
            items.append(
                GalleryItem(
                    image_id=str(scores.at[row, "image_id"]),
                    kind=kind,
                    rank=rank,
                    image=to_rgb(view.image),
                    heatmap=maps[int(row)],
                    region=view.region,
                )
            )
    return tuple(items)
