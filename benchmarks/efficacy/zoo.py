"""The shortcut zoo: which models there are, how one is trained, how much it really relies on its shortcut.

A model of the zoo learns rendered scenes in which a shortcut goes with the class in `strength` of the
images. Whether it is biased is decided by its behaviour alone: its accuracy where every image carries the
shortcut of its own class, minus that on the same scenes with a shortcut drawn at random.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import photos
import torch
from torch import Tensor, nn

from camgate import Classifier, Preprocessing
from camgate.models.builders import build
from camgate.scenes.render import CLASSES
from camgate.scenes.shortcuts import SHORTCUTS
from scenes import Split, render_split

TRAIN_IMAGES, PAIRED_SCENES, AUDIT_IMAGES = 1600, 2000, 400
BATCH = 64
MEAN, STD = (0.45, 0.45, 0.45), (0.25, 0.25, 0.25)
SHIFT = 3
"""Pixels of the random shift in training. Images are never mirrored: a clock does not read backwards."""


@dataclass(frozen=True)
class Network:
    """A kind of network and how it is trained.

    Attributes:
        builder, args: as `camgate.models.builders.build` wants them.
        size: side of the images, in pixels.
        epochs, rate: of AdamW with one cycle.
    """

    builder: str
    args: dict[str, Any]
    size: int
    epochs: int
    rate: float


NETWORKS = {
    # A residual net whose last map is 8x8.
    "small": Network("resnet_small", {"widths": [16, 32, 64], "blocks": [1, 2]}, 64, 7, 3e-3),
    # A vision transformer without a class token, on 8x8 patches of a convolutional stem.
    "vit": Network("zoo_vit", {}, 64, 10, 2e-3),
    # A network of torchvision as it is; the map one stage before its last is 7x7.
    "shufflenet": Network("torchvision:shufflenet_v2_x0_5", {}, 112, 6, 5e-3),
    # Pretrained on ImageNet, all of it tuned; its last map is 4x4.
    "lite0": Network("zoo_lite0", {"image_size": 112, "pretrained": True}, 112, 2, 1e-3),
    # The small net on real photographs.
    "photos": Network("resnet_small", {"widths": [16, 32, 64], "blocks": [1, 2]}, photos.SIDE, 12, 3e-3),
}


PRETRAINED_KINDS = ("tag", "corner_patch", "colour_cast")
"""What the pretrained network, by far the slowest, is trained on."""


@dataclass(frozen=True)
class Entry:
    """One model of the zoo."""

    network: str
    kind: str
    strength: float
    seed: int

    @property
    def name(self) -> str:
        """Unique, and fit for a folder."""
        return f"{self.network}-{self.kind}-{round(100 * self.strength):03d}-{self.seed}"

    @property
    def inside(self) -> bool:
        """Whether the shortcut lies inside the object, where no region can tell it from the object."""
        return not self.photos and SHORTCUTS[self.kind].place == "object"

    @property
    def photos(self) -> bool:
        """Whether it is one of real photographs."""
        return self.network == "photos"

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of its classes."""
        return photos.CLASSES if self.photos else CLASSES


def plan(*, subset: bool = False) -> list[Entry]:
    """All models of the zoo, those first that say most; a few of them for `subset`."""
    if subset:
        return [Entry("small", "tag", s, 0) for s in (0.0, 1.0)] + [Entry("small", "timestamp", 1.0, 0)]
    kinds = list(SHORTCUTS)
    entries: list[Entry] = []
    for seed in range(5):
        networks = {"small": (0.0, 1.0, 0.9, 0.6)}
        if seed < 3:
            networks |= {"vit": (0.0, 1.0), "shufflenet": (0.0, 1.0)}
        for network, strengths in networks.items():
            entries += [Entry(network, kind, strength, seed) for kind in kinds for strength in strengths]
    for seed in range(2):
        entries += [Entry("photos", kind, strength, seed) for kind in photos.KINDS for strength in (0.0, 1.0)]
    entries += [Entry("lite0", kind, strength, 0) for kind in PRETRAINED_KINDS for strength in (0.0, 1.0)]
    return entries


def pictures(entry: Entry, split: str, count: int, out: Path | None) -> Split:
    """Images of `train` or `paired`, which are the same for all models of a kind; real ones lie in `out`."""
    if entry.photos:
        if out is None:
            raise ValueError("Photographs are cut below the folder of results.")
        return photos.photo_split(entry.kind, "train" if split == "train" else "test", out)
    size, training = NETWORKS[entry.network].size, split == "train"
    kept = None if training or out is None else out / "scenes"
    return render_split(entry.kind, (split, entry.seed if training else 0), count, size, kept)


def train(entry: Entry, *, images: int = TRAIN_IMAGES, out: Path | None = None) -> Classifier:
    """Train one model on images made for it; the same entry gives the same model."""
    network = NETWORKS[entry.network]
    split = pictures(entry, "train", images, out)
    pixels, labels = split.at(entry.strength)
    torch.manual_seed(1000 * entry.seed + 7)
    module = build(network.builder, network.args, len(entry.classes))
    fit(module, lambda chosen: pixels[chosen], labels, epochs=network.epochs, rate=network.rate)
    return Classifier(
        module,
        classes=list(entry.classes),
        preprocessing=Preprocessing(size=(network.size, network.size), mean=MEAN, std=STD),
        builder=network.builder,
        builder_args=network.args,
    )


def fit(
    module: nn.Module,
    images: Callable[[Tensor], Tensor],
    labels: Tensor,
    *,
    epochs: int,
    rate: float,
    batch: int = BATCH,
) -> None:
    """Train in place: AdamW, one cycle, labels smoothed, random shifts."""
    optimiser = torch.optim.AdamW(module.parameters(), rate, weight_decay=0.05)
    steps = epochs * (len(labels) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    module.train()
    for _ in range(epochs):
        for chosen in _batches(len(labels), batch):
            inputs = _shifted(_normalised(images(chosen)))
            loss = nn.functional.cross_entropy(module(inputs), labels[chosen], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    module.eval()


def _batches(count: int, batch: int) -> Iterator[Tensor]:
    order = torch.randperm(count)
    for start in range(0, count - batch + 1, batch):
        yield order[start : start + batch]


def _normalised(pixels: Tensor) -> Tensor:
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    return (pixels.float() / 255 - mean) / std


def _shifted(inputs: Tensor) -> Tensor:
    down, right = (int(value) for value in torch.randint(0, 2 * SHIFT + 1, (2,)))
    padded = nn.functional.pad(inputs, (SHIFT,) * 4, mode="replicate")
    return padded[:, :, down : down + inputs.shape[2], right : right + inputs.shape[3]]


@dataclass(frozen=True)
class Truth:
    """What a model does with its shortcut, on `PAIRED_SCENES` pairs of scenes it has not seen.

    Attributes:
        aligned, random: accuracy with the shortcut of the image's own class, and with one at random.
    """

    aligned: float
    random: float

    @property
    def reliance(self) -> float:
        """Accuracy that the shortcut is good for."""
        return self.aligned - self.random


def measure(
    classifier: Classifier, entry: Entry, *, scenes: int = PAIRED_SCENES, out: Path | None = None
) -> Truth:
    """Reliance, on scenes that are the same for all models of a kind and kept below `out`."""
    split = pictures(entry, "paired", scenes, out)
    accuracies = [
        float(np.mean(classifier.probabilities(pixels, batch_size=200).argmax(axis=1) == labels.numpy()))
        for pixels, labels in (split.at(1.0), split.at(0.0))
    ]
    return Truth(*accuracies)
