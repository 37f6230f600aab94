"""A model and its data in a folder, small enough that an audit of it takes seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from camgate.data.preprocessing import Preprocessing
from camgate.models.builders import build
from camgate.models.classifier import Classifier

SIDE = 48
LENIENT = {
    "audit": {"min_images": 10, "draws": 1, "target_layer": "model"},
    "sanity": {"required": False},
    "checks": {"accuracy": {"min": 0.0}},
}
"""A policy that the model passes."""
STRICT = LENIENT | {"checks": {"accuracy": {"min": 1.0}}}
"""One that it does not: nobody has trained it."""


def make_candidate(root: Path) -> None:
    """Write `data/images/`, `data/masks/` (two classes of twelve) and `model/`."""
    chance = np.random.default_rng(0)
    for label, colour in (("cat", (200, 60, 60)), ("dog", (60, 60, 200))):
        for kind in ("images", "masks"):
            (root / "data" / kind / label).mkdir(parents=True)
        for number in range(12):
            image = chance.integers(90, 130, (SIDE, SIDE, 3), dtype=np.uint8)
            image[16:32, 16:32] = colour
            mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
            mask[16:32, 16:32] = 255
            Image.fromarray(image).save(root / "data" / "images" / label / f"{number}.png")
            Image.fromarray(mask).save(root / "data" / "masks" / label / f"{number}.png")
    torch.manual_seed(0)
    Classifier(
        build("resnet_small", {}, 2),
        ["cat", "dog"],
        Preprocessing(size=(SIDE, SIDE)),
        builder="resnet_small",
        target_layer="stage2",
    ).save(root / "model")
