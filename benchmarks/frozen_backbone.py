"""Seconds of an epoch on the whole network, relative to one of the last layer on kept features, in one run.

Computing the features costs one forward pass of every image, once; it is given beside, in the same units.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch

from camgate.data.preprocessing import Preprocessing
from camgate.data.sources import load_data
from camgate.models.training import train_classifier
from camgate.scenes.dataset import write_scenes


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--builder", default="torchvision:resnet18")
    options.add_argument("--images", type=int, default=200, help="training images")
    options.add_argument("--size", type=int, default=128, help="side of the input in pixels")
    given = options.parse_args()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "scenes"
        write_scenes(folder, per_class={"train": given.images // 4, "test": 2}, size=given.size, coco=False)
        manifest = load_data(folder)
        began = time.perf_counter()
        result = train_classifier(
            manifest,
            builder=given.builder,
            preprocessing=Preprocessing(size=(given.size, given.size)),
            frozen_epochs=5,
            epochs=2,
            progress=False,
        )
        whole = time.perf_counter() - began
    seconds = result.history.groupby("phase")["seconds"].median()
    features = whole - result.history["seconds"].sum()
    print(f"{given.builder}, {given.images} images of {given.size} px, {torch.get_num_threads()} thread(s)")
    print(f"epoch of the whole network / epoch of the last layer: {seconds['whole'] / seconds['frozen']:.0f}")
    print(f"all else (reading, features) / epoch of the whole network: {features / seconds['whole']:.1f}")


if __name__ == "__main__":
    main()
