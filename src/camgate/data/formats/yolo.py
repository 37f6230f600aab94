"""YOLO data sets: data.yaml, images/ and labels/."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from camgate.data.formats.instances import AnnotatedImage, Choice, Instance, Multiple
from camgate.data.formats.reading import Size, Sizes, need, read_text
from camgate.data.formats.rows import build_manifest
from camgate.data.formats.shapes import box_runs, polygon_runs
from camgate.data.formats.yolo_layout import Listed, find_data_yaml, list_images
from camgate.data.zones import Zone
from camgate.errors import InputError

StrPath = str | os.PathLike[str]


def load_yolo(
    folder_or_yaml: StrPath,
    *,
    label_from: str = "category",
    multiple: Multiple = "error",
    crop_margin: float = 0.25,
    categories: Sequence[str] | None = None,
    empty_label: str | None = None,
    zone: Zone | Sequence[Zone] | None = None,
    check_files: bool = True,
) -> pd.DataFrame:
    """Read a YOLO data set: one row per image, its region the pixels of its label's instances.

    The label file of `.../images/a/b.jpg` is `.../labels/a/b.txt`; an image without one has no instance. A
    line of 5 numbers is a box, one of 7 or more a polygon. A box is a generous region: it holds background
    in its corners, see `load_coco`.

    Args:
        folder_or_yaml: the YAML file, or a folder that holds `data.yaml`. Read are `names` (a list, or a
            mapping from number to name), `path`, and `train`, `val`, `test` (folders, files that list
            images, or lists of these), which become the column `split` ("val" becomes "validation"). Without
            any of the three, all images in `images/` are taken.
        label_from: "category", "folder", the column `split`, or a file; see `load_coco`.
        multiple: what happens to images with several categories; see `load_coco`.
        crop_margin: for `multiple="crop"`; see `load_coco`.
        categories: names of the categories that count; None: all.
        empty_label: label of images without instances; None: they are an error.
        zone: fixed zone(s) of the camera, see `apply_zone`.
        check_files: have the manifest checked against the files. Headers are read in any case, for lines hold
            fractions of an image's size.

    Returns:
        A validated manifest.

    Raises:
        InputError: no data.yaml, one that cannot be read, or a wrong option.
        ManifestError: faults, all of them, each with the file and the line.
    """
    choice = Choice(label_from, multiple, crop_margin, categories, empty_label)
    file = find_data_yaml(Path(folder_or_yaml).absolute())
    content = _read(file)
    names = _names(content, file)
    faults: list[str] = []
    root, listed = list_images(content, file, faults)
    sizes = Sizes([entry.image for entry in listed], what="check `path`, `train`, `val` and `test`")
    nothing = sizes.none_there()
    if nothing is not None:
        faults.append(nothing)

    def annotated() -> Iterator[AnnotatedImage]:
        for entry in listed if nothing is None else ():
            image = _annotated(entry, root, sizes, names, choice, faults)
            if image is not None:
                yield image

    return build_manifest(
        annotated(),
        choice,
        source=str(file),
        root=root,
        faults=faults,
        known=set(names.values()),
        zone=zone,
        check_files=check_files,
    )


def _read(file: Path) -> Mapping[str, Any]:
    try:
        content = yaml.safe_load(read_text(file))
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise InputError(f"{file}: not YAML ({' '.join(str(error).split())}).") from error
    if not isinstance(content, dict):
        raise InputError(f"{file}: a mapping with `names` is expected, not {type(content).__name__}.")
    return content


def _names(content: Mapping[str, Any], file: Path) -> dict[int, str]:
    given = content.get("names")
    if isinstance(given, list):
        given = dict(enumerate(given))
    if not isinstance(given, dict) or not given:
        raise InputError(f"{file}: `names` must list the classes' names, or map numbers to them.")
    names: dict[int, str] = {}
    for key, name in given.items():
        number = int(key) if isinstance(key, str) and key.isdecimal() else key
        if type(number) is not int or number < 0 or not isinstance(name, str | int) or not str(name).strip():
            raise InputError(f"{file}: `names`: {key!r}: {name!r} is not a number, 0 or more, and its name.")
        if str(name).strip() in names.values():
            raise InputError(f"{file}: `names`: {name!r} is there twice.")
        names[number] = str(name).strip()
    if "nc" in content and content["nc"] != len(names):
        raise InputError(f"{file}: `nc` is {content['nc']}, but `names` has {len(names)}.")
    return names


def _annotated(
    entry: Listed, root: Path, sizes: Sizes, names: Mapping[int, str], choice: Choice, faults: list[str]
) -> AnnotatedImage | None:
    try:
        size = sizes.check(entry.image, None)
        lines = read_text(entry.labels).splitlines() if entry.labels.is_file() else []
    except ValueError as error:
        faults.append(str(error).removesuffix("."))
        return None
    instances = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            instance = _instance(line.split(), str(number), size, names, choice)
        except ValueError as error:
            faults.append(f"{entry.labels}, line {number}: {error}")
        else:
            instances += [instance] if instance is not None else []
    name = os.path.relpath(entry.image, root) if entry.image.startswith(f"{root}{os.sep}") else entry.image
    columns = {} if entry.split is None else {"split": entry.split}
    return AnnotatedImage(entry.image, Path(name).as_posix(), size, instances, columns=columns)


def _instance(
    values: list[str], name: str, size: Size, names: Mapping[int, str], choice: Choice
) -> Instance | None:
    if len(values) != 5 and (len(values) < 7 or len(values) % 2 == 0):
        raise ValueError(
            f"{len(values)} values; a class and a box are 5, a class and a polygon of 3 or more corners are "
            "7, 9, 11 ..."
        )
    # The class and a box are read by supervision. A polygon is not: what it gives without dense masks is the
    # polygon's box, and it takes an odd number of coordinates for a polygon with a confidence.
    read = need("supervision.dataset.formats.yolo").yolo_annotations_to_detections
    try:
        numbers = [float(value) for value in values[1:]]
        if not all(map(math.isfinite, numbers)):
            raise ValueError(f"{' '.join(values)!r} holds a value that is not a finite number")
        found = read([" ".join(values)], resolution_wh=(size[1], size[0]), with_masks=False)
    except (ValueError, OverflowError) as error:
        raise ValueError(str(error).rstrip(".")) from error
    number = int(found.class_id[0])
    if number not in names:
        raise ValueError(
            f"class {number} is not among the {len(names)} `names` (the highest is {max(names)})"
        )
    if not choice.counts(names[number]):
        return None
    try:
        if len(values) == 5:
            runs = box_runs([float(value) for value in found.xyxy[0]], size)
        else:
            scale = (size[1], size[0])
            runs = polygon_runs([[value * scale[i % 2] for i, value in enumerate(numbers)]], size)
    except ValueError as error:
        if max(map(abs, numbers)) > 2:
            raise ValueError(f"{error}; coordinates are fractions of width and height, 0 to 1") from error
        raise
    return Instance(name, names[number], runs)
