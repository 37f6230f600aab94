"""Real photographs: windows of OpenCV's `vtest.avi` with marks of the drill, and with a place as shortcut.

The sets are small, so their models are listed in the results and not scored.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch

from camgate.data.dataset import ImageDataset
from camgate.data.preprocessing import Preprocessing
from camgate.drill.stamps import Stamp, apply_stamp, free_corner
from camgate.scenes.walkway import cut_windows
from scenes import Split

CLASSES = ("empty", "pedestrian")
STAMPS = {
    "timestamp": Stamp("timestamp", 0.05),
    "patch": Stamp("patch", 0.02),
    "cast": Stamp("cast", 1.0, 0.6),
}
PLACE = "place"
"""The empty windows are cut where nobody ever walks."""
KINDS = (*STAMPS, PLACE)
SIDE = 96
"""Of a window, in pixels."""
VARIANT = 4
"""Of the second class: a hue half the circle from that of the first."""


def cut_photos(video: Path, kept: Path) -> None:
    """Cut both sets of windows below `kept`, where they are not there already."""
    for place in (False, True):
        if not _folder(kept, place=place).exists():
            cut_windows(video, _folder(kept, place=place), place=place, size=SIDE)


def photo_split(kind: str, split: str, kept: Path) -> Split:
    """Windows of `train` or `test` as arrays, with the shortcut of their class and with one at random."""
    plain = _windows(kept, split, place=False)
    labels = plain[1]
    rng = np.random.default_rng(len(split))
    luck, drawn = rng.random(len(labels)), rng.integers(len(CLASSES), size=len(labels))
    if kind == PLACE:
        own, other = _windows(kept, split, place=True)[0], plain[0]
    else:
        own, other = (_stamped(kind, plain[0], plain[2], side) for side in (labels, drawn))
    arrays = (torch.from_numpy(side).permute(0, 3, 1, 2).contiguous() for side in (own, other))
    return Split(*arrays, torch.from_numpy(labels), torch.from_numpy(luck))


def write_photos(kind: str, strength: float, kept: Path, folder: Path) -> pd.DataFrame:
    """The windows to audit as files, with their regions and blocks of video; the manifest."""
    rows = _rows(kept, "test", place=kind == PLACE and strength > 0)
    if kind == PLACE:
        return rows
    images, _ = photo_split(kind, "test", kept).at(strength)
    folder.mkdir(parents=True)
    files = [folder / f"{number:04d}.png" for number in range(len(rows))]
    for file, image in zip(files, images.permute(0, 2, 3, 1).numpy(), strict=True):
        cv2.imwrite(str(file), image[..., ::-1])
    return rows.assign(image=[str(file) for file in files])


def _stamped(kind: str, images: np.ndarray, regions: np.ndarray, side: np.ndarray) -> np.ndarray:
    corner = free_corner(regions, STAMPS[kind].area)
    return apply_stamp(STAMPS[kind], images, regions, VARIANT * side, corner=corner, seed=0)


def _folder(kept: Path, *, place: bool) -> Path:
    return kept / ("walkway-place" if place else "walkway")


def _rows(kept: Path, split: str, *, place: bool) -> pd.DataFrame:
    folder = _folder(kept, place=place)
    rows = pd.read_csv(folder / "manifest.csv")
    rows = rows[rows["split"] == split].sort_values(["label", "image"]).reset_index(drop=True)
    for column in ("image", "region"):
        rows[column] = [str(folder / file) if isinstance(file, str) else None for file in rows[column]]
    return rows.assign(split="test")


@lru_cache(maxsize=4)
def _windows(kept: Path, split: str, *, place: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images uint8 `(n, H, W, 3)`, labels `(n,)` and regions bool `(n, H, W)`, in the manifest's order."""
    rows = _rows(kept, split, place=place)
    dataset = ImageDataset(rows, Preprocessing(size=(SIDE, SIDE)), CLASSES)
    samples = [dataset[row] for row in range(len(dataset))]
    images = np.stack([np.asarray(sample.image).transpose(1, 2, 0) for sample in samples])
    regions = np.stack([np.asarray(sample.region, dtype=bool) for sample in samples])
    labels = np.array([CLASSES.index(label) for label in rows["label"]])
    return images, labels, regions
