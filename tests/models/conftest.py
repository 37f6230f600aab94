"""Small things to train on: coloured squares on noise, 32 px."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from camgate.data.manifest import validate_manifest

TINY = {"widths": (8, 8, 16, 16), "blocks": (1, 1, 1)}


@pytest.fixture
def tiny_args() -> dict[str, tuple[int, ...]]:
    """Arguments that make `resnet_small` really small."""
    return dict(TINY)


@pytest.fixture
def random_images() -> Callable[[int], torch.Tensor]:
    def make(count: int, size: int = 32) -> torch.Tensor:
        chance = torch.Generator().manual_seed(count)
        return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=chance)

    return make


@pytest.fixture(scope="session")
def squares(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """96 images in two classes, told apart by the colour of a square; a fifth of them is `split` test."""
    folder = tmp_path_factory.mktemp("squares")
    return write_squares(folder, count=96)


def write_squares(folder: Path, *, count: int, noisy_labels: bool = False) -> pd.DataFrame:
    chance = np.random.default_rng(3)
    rows = []
    for number in range(count):
        label = ("red", "blue")[number % 2]
        pixels = chance.integers(0, 80, (32, 32, 3), dtype=np.uint8)
        region = np.zeros((32, 32), dtype=np.uint8)
        top, left = chance.integers(4, 18, 2)
        region[top : top + 10, left : left + 10] = 255
        shown = ("red", "blue")[chance.integers(2)] if noisy_labels else label
        pixels[region > 0] = (220, 40, 40) if shown == "red" else (40, 40, 220)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        Image.fromarray(region).save(folder / f"{number}-mask.png")
        rows.append(
            {
                "image": str(folder / f"{number}.png"),
                "region": str(folder / f"{number}-mask.png"),
                "label": label,
                "split": "test" if number % 10 > 7 else "train",
                "group": f"g{number // 2}",
            }
        )
    return validate_manifest(pd.DataFrame(rows))


@pytest.fixture
def noisy_squares(tmp_path: Path) -> pd.DataFrame:
    """Labels that have nothing to do with the picture: the longer the training, the worse the validation."""
    return write_squares(tmp_path, count=64, noisy_labels=True)
