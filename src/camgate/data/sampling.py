"""Samples that give every class its turn."""

from __future__ import annotations

import pandas as pd


def even_sample(rows: pd.DataFrame, *, most: int, seed: int) -> pd.Index:
    """At most `most` rows at random, one of every class before the second of any.

    Samples of the same rows by the same seed begin alike, so an image that several look at is read once.

    Args:
        rows: with the column `label`.
        most: rows of the sample.
        seed: of their order.

    Returns:
        Their index, in that order.
    """
    order = rows.sample(frac=1.0, random_state=seed)
    turn = order.groupby("label").cumcount()
    return order.assign(turn=turn).sort_values("turn", kind="stable").index[:most]
