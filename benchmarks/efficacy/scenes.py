"""Rendered scenes as arrays: each scene with the shortcut of its class and with one drawn at random."""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from camgate.scenes.render import CLASSES, render_scene


@dataclass(frozen=True, eq=False)
class Split:
    """Scenes of one kind of shortcut.

    Attributes:
        own: uint8 `(n, 3, H, W)`, with the shortcut of the scene's class.
        other: the same scenes with a shortcut drawn from all classes.
        labels: int64 `(n,)`.
        luck: float `(n,)`, 0..1: a scene gets its own shortcut where this is below the strength.
    """

    own: Tensor
    other: Tensor
    labels: Tensor
    luck: Tensor

    def at(self, strength: float) -> tuple[Tensor, Tensor]:
        """Images and labels where the shortcut goes with the class in `strength` of the images."""
        mine = (self.luck < strength)[:, None, None, None]
        return torch.where(mine, self.own, self.other), self.labels


@lru_cache(maxsize=2)
def render_split(kind: str, split: tuple[str, int], count: int, size: int, kept: Path | None = None) -> Split:
    """Render `count` scenes, classes in turn, twice each; images are read from or written to `kept`."""
    stream = zlib.crc32(f"{split[0]}-{split[1]}".encode())
    rng = np.random.default_rng(stream)
    labels = np.arange(count) % len(CLASSES)
    luck = rng.random(count)
    drawn = rng.integers(len(CLASSES), size=count)
    file = None if kept is None else kept / f"{kind}-{split[0]}-{split[1]}-{count}-{size}.npy"
    if file is not None and file.is_file():
        images = np.load(file)
    else:
        images = _render(kind, stream, labels, drawn, size)
        if file is not None:
            kept.mkdir(parents=True, exist_ok=True)
            scratch = file.with_suffix(f".{os.getpid()}.npy")
            np.save(scratch, images)
            scratch.rename(file)
    own, other = (torch.from_numpy(array).permute(0, 3, 1, 2).contiguous() for array in images)
    return Split(own, other, torch.from_numpy(labels), torch.from_numpy(luck))


def _render(kind: str, stream: int, labels: np.ndarray, drawn: np.ndarray, size: int) -> np.ndarray:
    images = np.empty((2, len(labels), size, size, 3), dtype=np.uint8)
    for number, (label, variant) in enumerate(zip(labels, drawn, strict=True)):
        for side, chosen in enumerate((label, variant)):
            if side and chosen == label:
                images[1, number] = images[0, number]
                continue
            images[side, number] = render_scene(
                CLASSES[label], (stream, number), size=size, shortcut=kind, variant=int(chosen)
            ).image
    return images
