"""Samples that give every class its turn."""

from __future__ import annotations

import numpy as np
import pandas as pd

from camgate.data.sampling import even_sample


def rows(count: int = 200) -> pd.DataFrame:
    return pd.DataFrame({"label": np.where(np.arange(count) % 10 == 0, "rare", "common")})


def test_every_class_has_its_turn() -> None:
    sample = even_sample(rows(), most=30, seed=1)
    assert rows().loc[sample, "label"].value_counts().to_dict() == {"common": 15, "rare": 15}
    assert len(set(sample)) == 30
    assert list(sample) == list(even_sample(rows(), most=30, seed=1))
    assert list(sample) != list(even_sample(rows(), most=30, seed=2))


def test_rows_that_are_left_out_change_nothing_else() -> None:
    whole = even_sample(rows(), most=30, seed=1)
    fewer = even_sample(rows().drop(index=whole[3]), most=30, seed=1)
    assert set(whole) - set(fewer) == {whole[3]}


def test_fewer_rows_than_wanted_and_none() -> None:
    assert len(even_sample(rows(7), most=30, seed=0)) == 7
    assert len(even_sample(rows(0), most=30, seed=0)) == 0
