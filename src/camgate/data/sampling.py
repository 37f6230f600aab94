"""Samples that give every class its turn."""

from __future__ import annotations

import numpy as np
import pandas as pd


def even_sample(rows: pd.DataFrame, *, most: int, seed: int) -> pd.Index:
    """At most `most` rows at random, one of every class before the second of any.

    Samples by the same seed take the same rows first, as far as these are offered: an image that several look
    at is read once.

    Args:
        rows: with the column `label`; the index holds positions, >= 0.
        most: rows of the sample.
        seed: of their order.

    Returns:
        Their index, in that order.
    """
    if rows.empty:
        return rows.index
    # Each row has its own number, whichever others there are.
    numbers = np.random.default_rng(seed).random(int(rows.index.max()) + 1)[rows.index]
    order = rows.iloc[np.argsort(numbers)]
    turn = order.groupby("label").cumcount()
    return order.assign(turn=turn).sort_values("turn", kind="stable").index[:most]
