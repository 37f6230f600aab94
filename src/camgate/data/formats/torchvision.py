"""torchvision's data sets."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image
from torch.utils.data import Subset
from torchvision import datasets

from camgate.data.formats.pictures import Rows, manifest_of, write_picture
from camgate.data.zones import Zone
from camgate.errors import InputError

StrPath = str | os.PathLike[str]

_ANNOTATED = {
    "VOCSegmentation": "load_voc",
    "VOCDetection": "load_voc",
    "CocoDetection": "load_coco",
    "CocoCaptions": "load_coco",
}


def from_torchvision(
    dataset: Any,
    folder: StrPath | None = None,
    *,
    split: str | None = None,
    zone: Zone | Sequence[Zone] | None = None,
) -> pd.DataFrame:
    """Take a torchvision data set of classified images, or a torch `Subset` of one.

    Data sets with `samples` (`ImageFolder`, `DatasetFolder`) keep their files. Others (`CIFAR10`, `FakeData`)
    have their pictures written as PNG.

    What is written are the pictures before any transform: they are read from a shallow copy of the data set
    whose `transform`, `target_transform` and `transforms` are taken away (a wrapper for v2 transforms is
    opened first), and each must then be a PIL image. The data set itself is not changed.

    Args:
        dataset: gives an image and one class number each. Labels are its `classes`, or the numbers as text
            where it names none; a `target_transform` is not applied.
        folder: new; receives `images/` and `manifest.csv`. Needed where pictures have to be written only.
        split: split of all rows.
        zone: fixed zone(s) of the camera, see `apply_zone`.

    Returns:
        A validated manifest, without regions unless a zone gives them. `image_id` is the number in the data
        set where pictures are written.

    Raises:
        InputError: no torchvision data set, one whose annotations another reader takes, or no `folder`.
        ManifestError: faults, each with the number in the data set.
    """
    base, chosen = _unwrapped(dataset)
    name = type(base).__name__
    source = f"torchvision's {name}"
    for kind, reader in _ANNOTATED.items():
        if isinstance(base, getattr(datasets, kind)):
            raise InputError(f"{source} has annotations of its own: read its files by `{reader}`.")
    if not isinstance(base, datasets.VisionDataset):
        raise InputError(
            f"{name} is no torchvision data set, so that it cannot be seen whether its images are "
            "transformed already; write a manifest (image, label) and use `load_manifest`."
        )
    indices = range(len(base)) if chosen is None else chosen
    if len(set(indices)) != len(indices):
        raise InputError(f"the subset of {source} holds an image twice; keep each index once.")
    extra = {} if split is None else {"split": split}
    samples = getattr(base, "samples", None)
    if isinstance(samples, list):
        return manifest_of(
            lambda _, faults: _files(samples, base, indices, extra, faults), None, source=source, zone=zone
        )
    if folder is None:
        raise InputError(
            f"{source} keeps its pictures in memory or in files of its own kind; give `folder`, a new one, "
            "to have them written as PNG."
        )
    plain = copy.copy(base)
    for attribute in ("transform", "target_transform", "transforms"):
        if hasattr(plain, attribute):
            setattr(plain, attribute, None)
    return manifest_of(
        lambda scratch, faults: _written(plain, indices, extra, scratch, faults),
        Path(folder).absolute(),
        source=source,
        zone=zone,
    )


def _unwrapped(dataset: Any) -> tuple[Any, list[int] | None]:
    """The data set below subsets and wrappers, and which of its items are wanted (None: all)."""
    indices: list[int] | None = None
    while True:
        if isinstance(dataset, Subset):
            own = [int(index) for index in dataset.indices]
            indices = own if indices is None else [own[index] for index in indices]
            dataset = dataset.dataset
        elif isinstance(getattr(dataset, "_dataset", None), datasets.VisionDataset):
            dataset = dataset._dataset  # by `wrap_dataset_for_transforms_v2`, whose class is private
        else:
            break
    return dataset, indices


def _files(
    samples: list[Any], base: Any, indices: Iterable[int], extra: dict[str, str], faults: list[str]
) -> Rows:
    rows = []
    for index in indices:
        path, target = samples[index]
        try:
            label = _label(target, base)
        except ValueError as error:
            faults.append(f"item {index}: {error}")
        else:
            rows.append({"image": os.path.abspath(path), "label": label, **extra})
    return rows


def _written(
    plain: Any, indices: Iterable[int], extra: dict[str, str], scratch: Path | None, faults: list[str]
) -> Rows:
    assert scratch is not None  # noqa: S101  # a folder was given
    rows = []
    for index in indices:
        item = plain[index]
        try:
            picture, target = item if isinstance(item, tuple) and len(item) == 2 else (None, None)
            if not isinstance(picture, Image.Image):
                raise ValueError(f"it is {type(item).__name__}, not a picture (PIL) and a class")
            label = _label(target, plain)
            path = write_picture(picture, scratch, f"images/{index:08d}")
        except ValueError as error:
            faults.append(f"item {index}: {error}")
        else:
            rows.append({"image_id": str(index), "image": path, "label": label, **extra})
    return rows


def _label(target: Any, dataset: Any) -> str:
    try:
        number = int(target)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"its target {str(target)[:60]} is not one class number") from error
    classes = getattr(dataset, "classes", None)
    if classes is None:
        return str(number)
    if not 0 <= number < len(classes):
        raise ValueError(f"class {number} is not among the {len(classes)} `classes`")
    name = classes[number]
    return str(name[0] if isinstance(name, tuple) else name)  # ImageNet: several names for each class
