"""A small folder of images with regions and its manifest, made anew for each test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from data_pictures import save_picture, save_region


@pytest.fixture
def make_rows(tmp_path: Path) -> Callable[..., pd.DataFrame]:
    """Writes `count` images (and masks) below `tmp_path`; returns rows with relative paths."""

    def make(count: int = 4, *, masks: bool = True, **columns: Any) -> pd.DataFrame:
        rows: dict[str, Any] = {"image": [], "label": []}
        if masks:
            rows["region"] = []
        for number in range(count):
            rows["image"].append(f"images/{number}.png")
            rows["label"].append(("cat", "dog")[number % 2])
            save_picture(tmp_path / "images" / f"{number}.png", number)
            if masks:
                rows["region"].append(f"masks/{number}.png")
                save_region(tmp_path / "masks" / f"{number}.png")
        return pd.DataFrame(rows | columns)

    return make
