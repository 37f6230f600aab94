from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from camgate.data.dataset import ImageDataset
from camgate.data.preprocessing import Preprocessing
from camgate.errors import InputError
from camgate.models.loading import MemoryBatches, batches, decode

SIZE = Preprocessing(size=(16, 16))
CLASSES = ("blue", "red")


def damaged(frame: pd.DataFrame, folder: Path, *, count: int) -> pd.DataFrame:
    """The first `count` images truncated."""
    frame = frame.copy()
    for row in range(count):
        content = Path(frame.loc[row, "image"]).read_bytes()
        path = folder / f"truncated-{row}.png"
        path.write_bytes(content[: len(content) // 2])
        frame.loc[row, "image"] = str(path)
    return frame


@pytest.mark.parametrize("memory_limit", [1 << 30, 0], ids=["in memory", "read again"])
def test_every_image_comes_once_a_pass(squares: pd.DataFrame, memory_limit: int) -> None:
    options = {"batch_size": 10, "workers": 0, "seed": 0, "memory_limit": memory_limit}
    found, faults = batches(squares, SIZE, CLASSES, shuffle=False, **options)
    assert faults == ()
    rows = list(found)
    assert torch.cat([batch.index for batch in rows]).tolist() == list(range(96))
    labels = [CLASSES[label] for batch in rows for label in batch.labels.tolist()]
    assert labels == squares["label"].tolist()
    assert len(found) == len(rows) == 10


@pytest.mark.parametrize("memory_limit", [1 << 30, 0], ids=["in memory", "read again"])
def test_shuffling_follows_the_seed_and_changes_every_pass(squares: pd.DataFrame, memory_limit: int) -> None:
    def orders(seed: int) -> list[list[int]]:
        found, _ = batches(
            squares,
            SIZE,
            CLASSES,
            batch_size=12,
            workers=0,
            shuffle=True,
            seed=seed,
            memory_limit=memory_limit,
        )
        return [[int(i) for batch in found for i in batch.index] for _ in range(2)]

    first, second = orders(4)
    assert sorted(first) == sorted(second) == list(range(96))
    assert first != second
    assert orders(4) == [first, second]
    assert orders(5) != [first, second]


def test_batches_hold_what_the_data_set_holds(squares: pd.DataFrame) -> None:
    dataset = ImageDataset(squares, SIZE, CLASSES)
    for batch in MemoryBatches(decode(dataset), 40, shuffle=True):
        for position, index in enumerate(batch.index.tolist()):
            sample = dataset[index]
            assert torch.equal(batch.images[position], sample.image)
            assert torch.equal(batch.regions[position], sample.region)
            assert int(batch.labels[position]) == sample.label
            assert bool(batch.has_region[position])


def test_a_remainder_is_left_out_of_training_but_not_of_validation(squares: pd.DataFrame) -> None:
    rows = decode(ImageDataset(squares, SIZE, CLASSES))
    assert [len(batch) for batch in MemoryBatches(rows, 40, shuffle=True)] == [40, 40]
    assert [len(batch) for batch in MemoryBatches(rows, 40)] == [40, 40, 16]
    assert [len(batch) for batch in MemoryBatches(rows, 500, shuffle=True)] == [96]


def test_a_few_unreadable_images_are_left_out_and_named(squares: pd.DataFrame, tmp_path: Path) -> None:
    frame = damaged(squares, tmp_path, count=4)
    found, faults = batches(frame, SIZE, CLASSES, batch_size=96, workers=0, shuffle=False, seed=0)
    assert len(faults) == 4
    assert "truncated-0.png" in faults[0]
    assert sum(len(batch) for batch in found) == 92


def test_many_unreadable_images_are_refused(squares: pd.DataFrame, tmp_path: Path) -> None:
    frame = damaged(squares, tmp_path, count=5)
    with pytest.raises(InputError, match=r"5 of 96 images cannot be read, more than 5%.*truncated-0\.png"):
        batches(frame, SIZE, CLASSES, batch_size=96, workers=0, shuffle=False, seed=0)
