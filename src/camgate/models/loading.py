"""Training images: decoded once and kept in memory where they fit, else read again every epoch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import pandas as pd
import torch
from torch import Tensor

from camgate.data.dataset import Batch, ImageDataset, make_loader
from camgate.data.preprocessing import Preprocessing
from camgate.errors import InputError

MEMORY_LIMIT = 1 << 30
"""Bytes of decoded images above which they are read again in every epoch."""

MAX_UNREADABLE = 0.05
"""Share of the rows that may be unreadable before training refuses."""


@dataclass(frozen=True)
class Decoded:
    """Readable rows in memory.

    Attributes:
        images: (N, C, h, w) uint8.
        regions: (N, h, w) bool.
        has_region: (N,) bool.
        labels: (N,) int64.
        faults: one text for each row that was left out.
    """

    images: Tensor
    regions: Tensor
    has_region: Tensor
    labels: Tensor
    faults: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)


@dataclass
class MemoryBatches:
    """Batches of decoded rows. With `shuffle` the order is another one in every pass.

    A last batch that is not full is left out when shuffling, because batch normalisation suffers from it (and
    fails with one image); the rows left out differ from pass to pass.
    """

    rows: Decoded
    batch_size: int
    shuffle: bool = False
    seed: int = 0
    _generator: torch.Generator = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._generator = torch.Generator().manual_seed(self.seed)

    def __len__(self) -> int:
        full, rest = divmod(len(self.rows), self.batch_size)
        return max(full, 1) if self.shuffle else full + bool(rest)

    def __iter__(self) -> Iterator[Batch]:
        count = len(self.rows)
        order = torch.randperm(count, generator=self._generator) if self.shuffle else torch.arange(count)
        for index in torch.split(order, self.batch_size)[: len(self)]:
            yield Batch(
                index=index,
                images=self.rows.images[index],
                regions=self.rows.regions[index],
                has_region=self.rows.has_region[index],
                labels=self.rows.labels[index],
                faults=(None,) * len(index),
            )


def batches(
    frame: pd.DataFrame,
    preprocessing: Preprocessing,
    classes: Sequence[str],
    *,
    batch_size: int,
    workers: int,
    shuffle: bool,
    seed: int,
    memory_limit: int = MEMORY_LIMIT,
) -> tuple[Iterable[Batch], tuple[str, ...]]:
    """An iterable of batches, new in every pass, and the faults found so far.

    Where the rows do not fit into `memory_limit` they are read again in every pass and faults are not known
    beforehand: their rows then carry `Batch.faults`, and whoever trains leaves them out and counts them.

    Raises:
        InputError: more than `MAX_UNREADABLE` of the rows are unreadable.
    """
    dataset = ImageDataset(frame, preprocessing, classes)
    height, width = preprocessing.size
    if len(frame) * height * width * (preprocessing.channels + 1) > memory_limit:
        loader = make_loader(dataset, batch_size=batch_size, workers=workers, shuffle=shuffle, seed=seed)
        return loader, ()
    rows = decode(dataset, workers=workers)
    refuse_unreadable(rows.faults, len(frame))
    return MemoryBatches(rows, min(batch_size, len(rows)), shuffle=shuffle, seed=seed), rows.faults


def in_order(training: Iterable[Batch]) -> Iterable[Batch]:
    """Batches of every row, where `training` may shuffle them and leave some out."""
    if isinstance(training, MemoryBatches):
        return replace(training, shuffle=False)
    return training


def decode(dataset: ImageDataset, *, workers: int = 0) -> Decoded:
    """Read every row once; unreadable ones are left out and named."""
    parts = list(make_loader(dataset, batch_size=64, workers=workers))
    faults = tuple(fault for part in parts for fault in part.faults if fault is not None)
    kept = [torch.tensor([fault is None for fault in part.faults]) for part in parts]

    def stacked(name: str) -> Tensor:
        return torch.cat([getattr(part, name)[keep] for part, keep in zip(parts, kept, strict=True)])

    return Decoded(stacked("images"), stacked("regions"), stacked("has_region"), stacked("labels"), faults)


def refuse_unreadable(faults: Sequence[str], count: int) -> None:
    """Raise InputError when more than `MAX_UNREADABLE` of `count` rows are unreadable."""
    if len(faults) > MAX_UNREADABLE * count:
        shown = "; ".join(faults[:5]) + ("; ..." if len(faults) > 5 else "")
        raise InputError(
            f"{len(faults)} of {count} images cannot be read, more than {MAX_UNREADABLE:.0%}: {shown}. "
            "Repair or remove them"
        )
