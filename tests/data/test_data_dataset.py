"""From rows to batches, with workers, with faults, with augmentation."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from data_pictures import SIZE, save_region
from torchvision.transforms import v2

from camgate.data.dataset import Batch, ImageDataset, collate, loader_workers, make_loader
from camgate.data.images import read_image, read_mask
from camgate.data.manifest import audited_rows, manifest_classes, validate_manifest
from camgate.data.preprocessing import Preprocessing
from camgate.data.sources import load_data
from camgate.data.zones import Zone, apply_zone
from camgate.errors import InputError

Rows = Callable[..., pd.DataFrame]
PREPROCESSING = Preprocessing(size=SIZE)


def test_samples_are_the_files(make_rows: Rows, tmp_path: Path) -> None:
    manifest = validate_manifest(make_rows(4), root=tmp_path)
    dataset = ImageDataset(manifest, PREPROCESSING, ["dog", "bird", "cat"])
    assert len(dataset) == 4
    for index, row in manifest.iterrows():
        sample = dataset[index]
        assert sample.index == index
        np.testing.assert_array_equal(sample.image.numpy().transpose(1, 2, 0), read_image(row["image"]))
        np.testing.assert_array_equal(sample.region.numpy(), read_mask(row["region"]))
        assert sample.has_region is True
        assert sample.label == {"cat": 2, "dog": 0}[row["label"]]
        assert sample.fault is None


def test_no_region_and_all_zero_region(make_rows: Rows, tmp_path: Path) -> None:
    rows = make_rows(2)
    rows.loc[0, "region"] = None
    save_region(tmp_path / "masks" / "1.png", np.zeros(SIZE, dtype=bool))
    dataset = ImageDataset(validate_manifest(rows, root=tmp_path), PREPROCESSING, ["cat", "dog"])
    for index in range(2):
        assert dataset[index].has_region is False
        assert dataset[index].fault is None
        assert not dataset[index].region.any()


def test_zone_reaches_the_sample(make_rows: Rows, tmp_path: Path) -> None:
    left = [(0, 0), (0.5, 0), (0.5, 1), (0, 1)]
    manifest = apply_zone(validate_manifest(make_rows(1, masks=False), root=tmp_path), Zone(polygon=left))
    sample = ImageDataset(manifest, PREPROCESSING, ["cat"])[0]
    assert sample.has_region
    assert sample.region[:, : SIZE[1] // 2].all()
    assert not sample.region[:, SIZE[1] // 2 :].any()


def test_manifests_back_from_a_store_work(make_rows: Rows, tmp_path: Path) -> None:
    rows = make_rows(2)
    rows.loc[1, "region"] = None
    validate_manifest(rows, root=tmp_path).to_parquet(tmp_path / "m.parquet")
    dataset = ImageDataset(pd.read_parquet(tmp_path / "m.parquet"), PREPROCESSING, ["cat", "dog"])
    assert [dataset[n].has_region for n in range(2)] == [True, False]
    assert [dataset[n].fault for n in range(2)] == [None, None]


def test_unknown_label_is_minus_one(make_rows: Rows, tmp_path: Path) -> None:
    dataset = ImageDataset(validate_manifest(make_rows(2), root=tmp_path), PREPROCESSING, ["dog"])
    assert [dataset[n].label for n in range(2)] == [-1, 0]


def break_files(tmp_path: Path) -> dict[int, str]:
    """Damages five of six rows' files after validation."""
    content = (tmp_path / "images" / "0.png").read_bytes()
    (tmp_path / "images" / "0.png").write_bytes(content[: len(content) // 2])
    (tmp_path / "images" / "1.png").write_bytes(b"not an image")
    (tmp_path / "images" / "2.png").unlink()
    save_region(tmp_path / "masks" / "3.png", size=(5, 5))
    (tmp_path / "masks" / "4.png").write_bytes(b"")
    return {0: "images/0.png", 1: "images/1.png", 2: "images/2.png", 3: "masks/3.png", 4: "masks/4.png"}


@pytest.mark.parametrize("workers", [0, 2])
def test_faults_are_counted_and_named(make_rows: Rows, tmp_path: Path, workers: int) -> None:
    manifest = validate_manifest(make_rows(6), root=tmp_path)
    broken = break_files(tmp_path)
    dataset = ImageDataset(manifest, PREPROCESSING, ["cat", "dog"])
    (batch,) = make_loader(dataset, workers=workers)
    assert isinstance(batch, Batch)
    assert batch.index.tolist() == list(range(6))
    for index, fault in enumerate(batch.faults):
        if index in broken:
            assert fault is not None
            assert broken[index] in fault
            assert not batch.images[index].any()
            assert not batch.has_region[index]
        else:
            assert fault is None
            assert batch.has_region[index]
    assert batch.labels.tolist() == [0, 1] * 3


@pytest.mark.parametrize("workers", [0, 2])
def test_batches(make_rows: Rows, tmp_path: Path, workers: int) -> None:
    manifest = validate_manifest(make_rows(7), root=tmp_path)
    dataset = ImageDataset(manifest, Preprocessing(size=(8, 10)), ["cat", "dog"])
    batches = list(make_loader(dataset, batch_size=3, workers=workers))
    assert [len(batch) for batch in batches] == [3, 3, 1]
    first = batches[0]
    assert (first.images.shape, first.images.dtype) == ((3, 3, 8, 10), torch.uint8)
    assert (first.regions.shape, first.regions.dtype) == ((3, 8, 10), torch.bool)
    assert (first.has_region.dtype, first.labels.dtype, first.index.dtype) == (
        torch.bool,
        torch.int64,
        torch.int64,
    )
    alone = [dataset[index] for index in range(7)]
    assert torch.equal(torch.cat([batch.images for batch in batches]), collate(alone).images)
    assert torch.equal(torch.cat([batch.regions for batch in batches]), collate(alone).regions)


def test_order_follows_the_seed(make_rows: Rows, tmp_path: Path) -> None:
    dataset = ImageDataset(validate_manifest(make_rows(12), root=tmp_path), PREPROCESSING, ["cat", "dog"])

    def order(seed: int) -> list[int]:
        loader = make_loader(dataset, batch_size=5, shuffle=True, seed=seed)
        return [index for batch in loader for index in batch.index.tolist()]

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert sorted(order(1)) == list(range(12))


def test_augmentation_moves_both_and_follows_the_seed(make_rows: Rows, tmp_path: Path) -> None:
    manifest = validate_manifest(make_rows(8), root=tmp_path)
    plain = collate([ImageDataset(manifest, PREPROCESSING, ["cat", "dog"])[n] for n in range(8)])
    dataset = ImageDataset(manifest, PREPROCESSING, ["cat", "dog"], augment=v2.RandomHorizontalFlip())

    def read(seed: int) -> Batch:
        batch: Batch
        (batch,) = make_loader(dataset, workers=2, seed=seed)
        return batch

    batch, again = read(4), read(4)
    assert torch.equal(batch.images, again.images)
    flipped = [not torch.equal(batch.images[n], plain.images[n]) for n in range(8)]
    assert True in flipped
    assert False in flipped
    for n, turned in enumerate(flipped):
        expected_image = plain.images[n].flip(2) if turned else plain.images[n]
        expected_region = plain.regions[n].flip(1) if turned else plain.regions[n]
        assert torch.equal(batch.images[n], expected_image)
        assert torch.equal(batch.regions[n], expected_region)
    assert type(batch.images) is torch.Tensor


def test_region_that_augmentation_crops_away_is_none(make_rows: Rows, tmp_path: Path) -> None:
    manifest = validate_manifest(make_rows(1), root=tmp_path)

    def corner(image: torch.Tensor, region: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return image[:, -2:, -2:], region[-2:, -2:]

    sample = ImageDataset(manifest, PREPROCESSING, ["cat"], augment=corner)[0]
    assert sample.has_region is False
    assert sample.fault is None


def test_wrong_use_is_named(make_rows: Rows, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="label"):
        ImageDataset(pd.DataFrame({"image": ["a"]}), PREPROCESSING, ["cat"])
    dataset = ImageDataset(validate_manifest(make_rows(1), root=tmp_path), PREPROCESSING, ["cat"])
    for options in ({"batch_size": 0}, {"workers": -1}):
        with pytest.raises(InputError, match="batch_size"):
            make_loader(dataset, **options)  # type: ignore[arg-type]


@pytest.mark.photos
def test_photographs_become_batches(photos_root: Path) -> None:
    manifest = load_data(photos_root / "walkway")
    rows, warnings = audited_rows(manifest)
    assert warnings == ()
    dataset = ImageDataset(rows, Preprocessing(size=(64, 64)), manifest_classes(manifest))
    batches = list(make_loader(dataset, workers=2, batch_size=100))
    labels = torch.cat([batch.labels for batch in batches])
    has_region = torch.cat([batch.has_region for batch in batches])
    assert all(fault is None for batch in batches for fault in batch.faults)
    # A few masks of `empty` hold specks (up to 24 pixels): what counts is what the file says.
    assert has_region.tolist() == [bool(read_mask(path).any()) for path in rows["region"]]
    assert has_region[labels == manifest_classes(manifest).index("pedestrian")].all()
    assert has_region[labels == manifest_classes(manifest).index("empty")].float().mean() < 0.1


@pytest.mark.parametrize(
    ("images", "device", "cores", "workers"),
    [
        (100, "cpu", 64, 0),
        (5000, "cpu", 2, 0),
        (5000, "cpu", 16, 4),
        (5000, "cuda", 8, 7),
        (5000, "cuda", 64, 16),
    ],
)
def test_workers_suit_the_machine(
    images: int, device: str, cores: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    assert loader_workers(images, torch.device(device)) == workers
