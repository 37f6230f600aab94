"""Data small enough to train on in seconds, and options that fit them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

SIDE = 32
TRAINING = {
    "epochs": 3,
    "batch_size": 16,
    "learning_rate": 3e-3,
    "preprocessing": {"size": [SIDE, SIDE]},
}
AUDIT = {"gallery_worst": 3, "gallery_sample": 3}
_TERMS = {
    "audit": {"draws": 1, "min_images": 10, "min_groups": 2},
    "coverage": {"overall": 0.0, "per_class": 0.0},
    "sanity": {"required": False},  # of so few images and cells it cannot be told
}
LENIENT = {**_TERMS, "checks": {"invalid_activation": {"max": 1.0}}}
STRICT = {**_TERMS, "checks": {"invalid_activation": {"max": 0.0}}}


def write_images(folder: Path, *, train: int = 16, test: int = 24, seed: int = 0) -> Path:
    """Red and blue squares on grey noise, with masks; returns the manifest's path."""
    rng = np.random.default_rng(seed)
    rows = []
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    for split, count in (("train", train), ("validation", 6), ("test", test)):
        for label, colour in (("blue", (40, 60, 220)), ("red", (220, 60, 40))):
            for number in range(count):
                image = rng.integers(90, 150, (SIDE, SIDE, 3), dtype=np.uint8)
                mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
                top, left = rng.integers(0, SIDE - 14, 2)
                mask[top : top + 14, left : left + 14] = 255
                image[mask > 0] = colour
                name = f"{split}-{label}-{number:03d}.png"
                Image.fromarray(image).save(folder / "images" / name)
                Image.fromarray(mask).save(folder / "masks" / name)
                rows.append(
                    {"image": f"images/{name}", "region": f"masks/{name}", "label": label, "split": split}
                )
    frame = pd.DataFrame(rows).assign(group=lambda table: [f"g{row // 2}" for row in range(len(table))])
    frame.to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"
