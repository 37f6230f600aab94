"""A manifest as a torch data set: image, region and label of each row, faults included."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors

from camgate.data.cells import as_text, is_blank
from camgate.data.crops import read_crop
from camgate.data.images import UnreadableImage, read_image
from camgate.data.preprocessing import Preprocessing
from camgate.data.regions import pixels_for
from camgate.errors import InputError

FEW_IMAGES = 512
MOST_WORKERS = 16

Augment = Callable[[tv_tensors.Image, tv_tensors.Mask], tuple[Tensor, Tensor]]


class Sample(NamedTuple):
    """One row.

    Attributes:
        index: position in the manifest.
        image: `(C, h, w)` uint8, C = channels of the preprocessing; zeros when there is a fault.
        region: `(h, w)` bool, True = valid; all False without a region.
        has_region: False without a region, and for one without a single valid pixel.
        label: position in `classes`, -1 when the label is not among them.
        fault: why the image or its region could not be read; None when all is well.
        void: `(h, w)` bool, pixels that belong to neither side; None when there are none.
    """

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    image: Tensor
    region: Tensor
    has_region: bool
    label: int
    fault: str | None
    void: Tensor | None = None


@dataclass
class Batch:
    """Samples stacked. Not frozen, because Lightning moves batches to devices field by field.

    Attributes:
        index: `(B,)` int64.
        images: `(B, C, h, w)` uint8.
        regions: `(B, h, w)` bool.
        has_region: `(B,)` bool.
        labels: `(B,)` int64.
        faults: one entry a sample.
        voids: `(B, h, w)` bool; None when no sample has void pixels.
    """

    index: Tensor
    images: Tensor
    regions: Tensor
    has_region: Tensor
    labels: Tensor
    faults: tuple[str | None, ...]
    voids: Tensor | None = None

    def __len__(self) -> int:
        return len(self.faults)


class ImageDataset(Dataset[Sample]):
    """Reads the rows of a manifest, image and region through one geometry.

    Never raises for a file: a row that cannot be read becomes a sample with a fault, so that one bad
    file is counted and named instead of ending a run.
    """

    def __init__(
        self,
        manifest: pd.DataFrame,
        preprocessing: Preprocessing,
        classes: Sequence[str],
        *,
        augment: Augment | None = None,
    ) -> None:
        """Take what is needed from the manifest; no file is touched yet.

        Args:
            manifest: validated rows; columns `image`, `label`, and where present `region`, `zone`,
                `region_rule`, `crop`.
            preprocessing: the model's geometry.
            classes: in the model's order.
            augment: called with the uint8 image `(C, h, w)` and the region mask `(h, w)` after geometry;
                must return both, moved together (any torchvision v2 transform does).
        """
        missing = {"image", "label"} - set(manifest.columns)
        if missing:
            raise InputError(
                f"the manifest lacks the column(s) {sorted(missing)}; use `validate_manifest` first"
            )
        positions = {name: position for position, name in enumerate(classes)}
        self.preprocessing = preprocessing
        self.classes = tuple(classes)
        self.augment = augment
        self._images = [str(path) for path in manifest["image"]]
        self._labels = [positions.get(as_text(label), -1) for label in manifest["label"]]
        self._crops = _cells(manifest, "crop")
        self._places = {name: _cells(manifest, name) for name in ("region", "zone", "region_rule")}

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Sample:
        label = self._labels[index]
        try:
            image, region, void = self._read(index)
        except InputError as error:
            height, width = self.preprocessing.size
            blank = torch.zeros((self.preprocessing.channels, height, width), dtype=torch.uint8)
            return Sample(
                index, blank, torch.zeros((height, width), dtype=torch.bool), False, label, str(error)
            )
        if self.augment is not None:
            image, region = self._augmented(image, region)
            void = None  # nobody who augments asks for it
        return Sample(index, image, region, bool(region.any()), label, None, void)

    def _read(self, index: int) -> tuple[Tensor, Tensor, Tensor | None]:
        pixels = read_image(self._images[index], channels=self.preprocessing.channels)
        size = (pixels.shape[0], pixels.shape[1])
        valid, void = pixels_for({name: cells[index] for name, cells in self._places.items()}, size)
        valid = np.zeros(size, bool) if valid is None else valid
        try:
            crop = read_crop(self._crops[index])
            if crop is not None:
                pixels, valid = crop.of(pixels), crop.of(valid)
                void = None if void is None else crop.of(void)
        except ValueError as error:
            raise UnreadableImage(f"{self._images[index]}: {error}.") from error
        image, region = self.preprocessing.geometry(pixels, valid)
        if void is None or not void.any():
            return image, region, None
        return image, region, self.preprocessing.geometry(pixels, void)[1] & ~region

    def _augmented(self, image: Tensor, region: Tensor) -> tuple[Tensor, Tensor]:
        assert self.augment is not None  # noqa: S101  # for the type checker
        moved, mask = self.augment(tv_tensors.Image(image), tv_tensors.Mask(region))
        return moved.as_subclass(Tensor).contiguous(), mask.as_subclass(Tensor).bool().contiguous()


def collate(samples: list[Sample]) -> Batch:
    """Stack samples into a batch."""
    return Batch(
        index=torch.tensor([sample.index for sample in samples], dtype=torch.int64),
        images=torch.stack([sample.image for sample in samples]),
        regions=torch.stack([sample.region for sample in samples]),
        has_region=torch.tensor([sample.has_region for sample in samples], dtype=torch.bool),
        labels=torch.tensor([sample.label for sample in samples], dtype=torch.int64),
        faults=tuple(sample.fault for sample in samples),
        voids=_stacked_voids(samples),
    )


def loader_workers(images: int, device: torch.device) -> int:
    """Loader processes that suit the machine, for `workers=None`.

    A network on a CPU takes all cores itself: one process in four cores keeps it fed, and on fewer than four
    none gains anything. A GPU leaves the cores to the readers. Short runs are over before processes pay.

    Args:
        images: how many are read.
        device: where the network computes.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    if images < FEW_IMAGES:
        return 0
    return min(MOST_WORKERS, cores // 4 if device.type == "cpu" else cores - 1)


def make_loader(
    dataset: Dataset[Sample],
    *,
    batch_size: int = 32,
    workers: int = 0,
    shuffle: bool = False,
    seed: int = 0,
) -> DataLoader[Sample]:
    """A DataLoader of `Batch`es.

    Args:
        dataset: yields `Sample`.
        batch_size: images per batch.
        workers: processes that read ahead; 0 reads in this one.
        shuffle: another order every epoch.
        seed: decides the order, and the workers' random numbers.
    """
    if batch_size < 1 or workers < 0:
        raise InputError(
            f"`batch_size` must be at least 1 and `workers` at least 0; got {batch_size}, {workers}"
        )
    return DataLoader(
        dataset,
        batch_size=batch_size,
        shuffle=shuffle,
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=collate,
        generator=torch.Generator().manual_seed(seed),
    )


def _stacked_voids(samples: list[Sample]) -> Tensor | None:
    if all(sample.void is None for sample in samples):
        return None
    return torch.stack(
        [torch.zeros_like(sample.region) if sample.void is None else sample.void for sample in samples]
    )


def _cells(manifest: pd.DataFrame, column: str) -> list[Any]:
    if column not in manifest:
        return [None] * len(manifest)
    return [None if is_blank(cell) else str(cell) for cell in manifest[column]]
