"""A model with weights set by hand, and pictures for which every number is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor, nn

from camgate.data.manifest import validate_manifest
from camgate.data.preprocessing import Preprocessing
from camgate.models.classifier import Classifier

SIDE = 64
CELL = 8


class ReadsOneCell(nn.Module):
    """Class `red` where the cells that it reads are red, `blue` where they are blue, on an 8 x 8 map.

    Red and blue evidence are separate channels of `features`; the head averages over all cells. Only the
    cells of `mask` count, so where its heat lies is known.
    """

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.AvgPool2d(CELL), _Masked(mask))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([[0.0, 60.0], [60.0, 0.0]]))  # blue, red

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.flatten(self.pool(self.features(x))))


class _Masked(nn.Module):
    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask.float())

    def forward(self, x: Tensor) -> Tensor:
        contrast = x[:, 0:1] - x[:, 2:3]  # red minus blue
        return torch.relu(torch.cat([contrast, -contrast], dim=1)) * self.mask


def reader(rows: slice, columns: slice) -> Classifier:
    mask = torch.zeros(8, 8)
    mask[rows, columns] = 1
    plain = Preprocessing(size=(SIDE, SIDE), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return Classifier(ReadsOneCell(mask), ["blue", "red"], plain)


COLOURS = {"red": (255, 0, 0), "blue": (0, 0, 255)}


def paint(
    folder: Path, *, per_class: int = 30, wall: Callable[[str, int], str], groups: int = 15
) -> pd.DataFrame:
    """Images with a coloured object in cells 4-5 x 4-5 and a coloured wall in cells 0-1 x 0-1, else grey.

    Args:
        folder: for the files.
        per_class: images a class.
        wall: (label, number) -> colour of the wall.
        groups: number of groups.
    """
    rows = []
    rng = np.random.default_rng(0)
    for label in ("blue", "red"):
        for number in range(per_class):
            image = np.full((SIDE, SIDE, 3), 120, dtype=np.uint8) + rng.integers(
                0, 8, (SIDE, SIDE, 1), np.uint8
            )
            image[0:16, 0:16] = COLOURS[wall(label, number)]
            image[32:48, 32:48] = COLOURS[label]
            mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
            mask[32:48, 32:48] = 255
            name = f"{label}_{number:03d}"
            Image.fromarray(image).save(folder / f"{name}.png")
            Image.fromarray(mask).save(folder / f"{name}_mask.png")
            rows.append(
                {
                    "image_id": name,
                    "image": f"{name}.png",
                    "label": label,
                    "region": f"{name}_mask.png",
                    "group": f"g{number % groups}",
                    "split": "test",
                }
            )
    return validate_manifest(pd.DataFrame(rows), root=folder)
