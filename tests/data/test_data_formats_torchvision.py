"""torchvision's data sets as manifests."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from annotated import BOXES, write_coco
from data_pictures import save_picture
from PIL import Image
from torch.utils.data import Subset, TensorDataset
from torchvision import datasets, tv_tensors
from torchvision.transforms import v2

from camgate.data.formats.torchvision import from_torchvision
from camgate.data.images import read_image
from camgate.data.sources import load_data
from camgate.data.zones import Zone
from camgate.errors import InputError, ManifestError


def image_folder(root: Path, **options: Any) -> datasets.ImageFolder:
    for number, name in enumerate(("cat/0", "cat/1", "dog/2", "dog/3")):
        save_picture(root / f"{name}.png", number)
    return datasets.ImageFolder(root, **options)


def cifar(root: Path, **options: Any) -> datasets.CIFAR10:
    """CIFAR10 of six pictures, written as its download would lie there."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    batch = {"data": rng.integers(0, 256, (6, 3072), dtype=np.uint8), "labels": [0, 3, 5, 3, 9, 0]}
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    for file, content in (("test_batch", batch), ("batches.meta", {"label_names": names})):
        (folder / file).write_bytes(pickle.dumps(content))

    class Unchecked(datasets.CIFAR10):
        def _check_integrity(self) -> bool:
            return True

    original = datasets.cifar.check_integrity
    datasets.cifar.check_integrity = lambda *_: True  # type: ignore[attr-defined]
    try:
        return Unchecked(root, train=False, **options)
    finally:
        datasets.cifar.check_integrity = original  # type: ignore[attr-defined]


def test_files_of_an_image_folder_are_taken_as_they_are(tmp_path: Path) -> None:
    dataset = image_folder(tmp_path, transform=v2.Resize(4), target_transform=lambda target: 1 - target)
    manifest = from_torchvision(dataset, split="test")
    assert manifest["image"].tolist() == [path for path, _ in dataset.samples]
    assert manifest["label"].tolist() == ["cat", "cat", "dog", "dog"]
    assert manifest["split"].unique().tolist() == ["test"]


def test_subsets_of_subsets(tmp_path: Path) -> None:
    dataset = image_folder(tmp_path)
    manifest = from_torchvision(Subset(Subset(dataset, [3, 1, 0]), [0, 2]))
    assert [Path(image).stem for image in manifest["image"]] == ["3", "0"]
    with pytest.raises(InputError, match="holds an image twice"):
        from_torchvision(Subset(dataset, [1, 1]))


@pytest.mark.parametrize("wrap", [False, True])
def test_pictures_in_memory_are_written_before_any_transform(tmp_path: Path, wrap: bool) -> None:
    transform = v2.Compose([v2.ToImage(), v2.RandomHorizontalFlip(1.0)])
    dataset: Any = cifar(tmp_path / "data", transform=transform, target_transform=lambda target: 0)
    before = dataset.data.copy()
    if wrap:
        dataset = datasets.wrap_dataset_for_transforms_v2(dataset)
    manifest = from_torchvision(Subset(dataset, [4, 1]), tmp_path / "out")
    assert manifest["image_id"].tolist() == ["4", "1"]
    assert manifest["label"].tolist() == ["truck", "cat"]
    for image, index in zip(manifest["image"], (4, 1), strict=True):
        np.testing.assert_array_equal(read_image(image), before[index])
    # The data set still transforms.
    image, target = dataset[4]
    assert isinstance(image, tv_tensors.Image)
    np.testing.assert_array_equal(image.numpy().transpose(1, 2, 0), before[4][:, ::-1])
    assert target == 0


def test_what_was_written_can_be_loaded_again(tmp_path: Path) -> None:
    dataset = datasets.FakeData(3, image_size=(3, 8, 9), num_classes=4, transform=v2.ToImage())
    plain = datasets.FakeData(3, image_size=(3, 8, 9), num_classes=4)
    manifest = from_torchvision(dataset, tmp_path / "out", zone=Zone(polygon=[(0, 0), (1, 0), (1, 1)]))
    assert manifest["label"].tolist() == [str(int(plain[i][1])) for i in range(3)]
    assert read_image(manifest["image"][0]).shape == (8, 9, 3)
    again = load_data(tmp_path / "out")
    assert again[["image_id", "image", "label", "zone"]].equals(
        manifest[["image_id", "image", "label", "zone"]]
    )


def test_pictures_in_memory_need_a_new_folder(tmp_path: Path) -> None:
    dataset = datasets.FakeData(2, image_size=(3, 8, 8))
    with pytest.raises(InputError, match=r"FakeData keeps its pictures in memory.*give `folder`"):
        from_torchvision(dataset)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x").touch()
    with pytest.raises(InputError, match="not empty"):
        from_torchvision(dataset, tmp_path / "out")


class Strange(datasets.VisionDataset):
    """Gives what `items` holds."""

    def __init__(self, items: list[Any]) -> None:
        super().__init__("")
        self.items = items

    def __getitem__(self, index: int) -> Any:
        return self.items[index]

    def __len__(self) -> int:
        return len(self.items)


def test_items_that_are_no_classified_picture_are_named_and_nothing_is_left(tmp_path: Path) -> None:
    picture = Image.new("RGB", (4, 4))
    items = [(picture, 0), (np.zeros((4, 4, 3)), 1), (picture, [1, 0]), picture, (Image.new("F", (4, 4)), 1)]
    with pytest.raises(ManifestError) as caught:
        from_torchvision(Strange(items), tmp_path / "out")
    assert [fault[:6] for fault in caught.value.faults] == ["item 1", "item 2", "item 3", "item 4"]
    assert "is not one class number" in caught.value.faults[1]
    assert "mode F" in caught.value.faults[3]
    assert list(tmp_path.iterdir()) == []


def test_annotated_data_sets_have_their_own_readers(tmp_path: Path) -> None:
    dataset = datasets.CocoDetection(str(tmp_path), str(write_coco(tmp_path, BOXES)))
    with pytest.raises(InputError, match=r"CocoDetection .* by `load_coco`"):
        from_torchvision(Subset(dataset, [0]))


def test_other_data_sets_are_refused() -> None:
    with pytest.raises(InputError, match="TensorDataset is no torchvision data set"):
        from_torchvision(TensorDataset(torch.zeros(2, 3)))
