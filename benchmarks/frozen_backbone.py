"""Seconds an epoch with a frozen backbone and of the whole network, in one training.

python benchmarks/frozen_backbone.py [IMAGES] [SIZE]

Noise for pictures and random weights, on neither of which the time depends. Reading the images and computing
their features happens once, before the first epoch, and is reported apart.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from camgate.data.manifest import validate_manifest
from camgate.data.preprocessing import Preprocessing
from camgate.models.builders import build
from camgate.models.training import train_classifier

BUILDER = "torchvision:resnet18"
FROZEN, WHOLE = 10, 4


def pictures(folder: Path, count: int, size: int) -> pd.DataFrame:
    chance = np.random.default_rng(0)
    rows = []
    for number in range(count):
        path = folder / f"{number}.png"
        Image.fromarray(chance.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(path)
        split = "validation" if number % 10 < 2 else "train"
        rows.append({"image": str(path), "label": "ab"[number // 10 % 2], "split": split})
    return validate_manifest(pd.DataFrame(rows))


def main(count: int = 200, size: int = 128) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        manifest = pictures(folder, count, size)
        torch.save(build(BUILDER, {}, 1000).state_dict(), folder / "weights.pth")
        ticks = [time.perf_counter()]
        result = train_classifier(
            manifest,
            builder=BUILDER,
            preprocessing=Preprocessing(size=(size, size)),
            weights=folder / "weights.pth",
            frozen_epochs=FROZEN,
            epochs=WHOLE,
            patience=FROZEN,
            batch_size=32,
            progress=False,
            on_epoch=lambda _, __: ticks.append(time.perf_counter()),
        )
    # The time from one epoch's end to the next, so that validation is in it; a phase's first one has the
    # start in it too, and is left out.
    spans = np.diff(ticks)
    frozen, whole = statistics.median(spans[1:FROZEN]), statistics.median(spans[FROZEN + 1 :])
    rows = result.parameters["train_images"], result.parameters["validation_images"]
    print(
        f"{BUILDER}, {rows[0]} + {rows[1]} images of {size} px, {torch.get_num_threads()} thread(s): "
        f"an epoch of the last layer {1000 * frozen:.1f} ms, of the whole network {whole:.2f} s, "
        f"{whole / frozen:.0f} times as long; once, at the start: {spans[0]:.2f} s"
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
