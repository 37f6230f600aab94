"""COCO instance files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from camgate.data.cells import locate
from camgate.data.formats.instances import AnnotatedImage, Choice, Instance, Multiple
from camgate.data.formats.reading import Size, Sizes, read_text
from camgate.data.formats.rows import build_manifest
from camgate.data.formats.shapes import Runs, box_runs, coded_runs, polygon_runs
from camgate.data.zones import Zone
from camgate.errors import InputError

StrPath = str | os.PathLike[str]

_PARTS = ("images", "annotations", "categories")
_NO_COLUMNS = frozenset({"id", "file_name", "width", "height"})


def load_coco(
    annotations: StrPath,
    images: StrPath | None = None,
    *,
    label_from: str = "category",
    multiple: Multiple = "error",
    crop_margin: float = 0.25,
    categories: Sequence[str] | None = None,
    empty_label: str | None = None,
    split: str | None = None,
    zone: Zone | Sequence[Zone] | None = None,
    check_files: bool = True,
) -> pd.DataFrame:
    """Read a COCO instances file: one row per image, its region the pixels of its label's instances.

    A polygon or run-length code is the region as it is. Where an instance has no segmentation (boxes only,
    or keypoints), its box is the region: a box is generous, for it holds background in its corners, so that
    heat there counts as valid. An audit of boxes therefore finds less than one of masks, and its limits
    cannot be compared with limits set on masks.

    Instances with `iscrowd` are no instances of their own: they give no label and no crop, and do not count
    for `multiple`. Their pixels are void, belonging to neither side, where their category is the row's label
    (and no single instance lies there); a crowd of another category is background like any other object.

    Args:
        annotations: the JSON file. Every plain (text, number) further key of its `images` entries becomes a
            column, `split` and `group` among them.
        images: folder that `file_name` starts from; None: the file's own folder.
        label_from: where a row's label comes from: "category" (the only category among the image's
            instances), "folder" (the image's folder), a key of the `images` entries, or a `.csv` or `.json`
            file with `image` and `label`. An image whose label is the category of none of its instances gets
            a region without a valid pixel.
        multiple: what happens to images with several categories. "error": they are counted and named.
            "largest": the category of the instance with the most pixels. "drop": no row, neither for images
            without instances. "crop": one row for each instance, the window around it (column `crop`) as
            image; rows of one image share their `group`.
        crop_margin: by how much a crop is wider than its instance's box on each side, as a share of the
            box' longer side; at least 8 pixels, clipped to the image.
        categories: names of the categories that count, others are ignored; None: all.
        empty_label: label of images without instances; None: they are an error (no rows with `multiple`
            "crop" or "drop").
        split: split of all rows; None: the entries' key `split`, if they have it.
        zone: fixed zone(s) of the camera, see `apply_zone`.
        check_files: look for the images and compare their sizes with the stated ones.

    Returns:
        A validated manifest.

    Raises:
        InputError: the file is missing, not UTF-8, not JSON, not COCO instances, or an option is wrong.
        ManifestError: faults, all of them, each with the entry's id.
    """
    choice = Choice(label_from, multiple, crop_margin, categories, empty_label)
    file = Path(annotations).absolute()
    content = _read(file)
    faults: list[str] = []
    names = _categories(content["categories"], faults)
    root = Path(images).absolute() if images is not None else file.parent
    entries = _images(content["images"], root, faults)
    objects = _by_image(content["annotations"], set(entries), faults)
    sizes = _sizes(entries, root, check_files, faults)

    def annotated() -> Iterator[AnnotatedImage]:
        for key, (path, entry) in entries.items():
            if key not in sizes:
                continue
            found = list(_instances(objects.pop(key, []), names, sizes[key], choice, faults))
            columns = {name: value for name, value in entry.items() if _is_column(name, value)}
            if split is not None:
                columns["split"] = split
            yield AnnotatedImage(path, entry["file_name"], sizes[key], found, columns=columns)

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


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_text(file))
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: not JSON ({error}).") from error
    if not isinstance(content, dict) or any(not isinstance(content.get(part), list) for part in _PARTS):
        found = ", ".join(map(str, content)) if isinstance(content, dict) else f"a {type(content).__name__}"
        raise InputError(
            f"{file}: not a COCO instances file; an object with the lists images, annotations and "
            f"categories is expected, found: {found or 'an empty object'}."
        )
    for part in _PARTS:
        for number, entry in enumerate(content[part], 1):
            if not isinstance(entry, dict):
                raise InputError(f"{file}: entry {number} of `{part}` is no object but {str(entry)[:60]!r}.")
    return content


def _categories(entries: list[dict[str, Any]], faults: list[str]) -> dict[Any, str]:
    """Name of each id; ids may have gaps."""
    names: dict[Any, str] = {}
    for number, entry in enumerate(entries, 1):
        key, name = entry.get("id"), entry.get("name")
        if not _is_id(key) or not isinstance(name, str) or not name.strip():
            faults.append(f"categories entry {number}: needs an `id` and a `name`, has {_brief(entry)}")
        elif key in names:
            faults.append(f"categories entry {number}: id {key!r} is that of {names[key]!r} already")
        elif name.strip() in names.values():
            faults.append(f"categories entry {number}: the name {name!r} is taken already")
        else:
            names[key] = name.strip()
    return names


def _images(
    entries: list[dict[str, Any]], root: Path, faults: list[str]
) -> dict[Any, tuple[str, dict[str, Any]]]:
    """Path and entry of each image id."""
    images: dict[Any, tuple[str, dict[str, Any]]] = {}
    paths: dict[str, Any] = {}
    for number, entry in enumerate(entries, 1):
        key, name = entry.get("id"), entry.get("file_name")
        if not _is_id(key) or not isinstance(name, str) or not name.strip():
            faults.append(f"images entry {number}: needs an `id` and a `file_name`, has {_brief(entry)}")
            continue
        where = f"images id {key!r} ({name})"
        if key in images:
            faults.append(f"{where}: this id is that of {images[key][1]['file_name']!r} already")
            continue
        try:
            path = locate(name, root)
        except ValueError as error:
            faults.append(f"{where}: {error}")
            continue
        if path in paths:
            faults.append(f"{where}: the image is listed already, by id {paths[path]!r}")
            continue
        paths[path] = key
        images[key] = (path, entry)
    return images


def _by_image(
    annotations: list[dict[str, Any]], listed: set[Any], faults: list[str]
) -> dict[Any, list[dict[str, Any]]]:
    grouped: dict[Any, list[dict[str, Any]]] = {}
    seen: set[Any] = set()
    for number, entry in enumerate(annotations, 1):
        key, image = entry.get("id"), entry.get("image_id")
        where = f"annotations entry {number} (id {key!r})"
        if not _is_id(key):
            faults.append(f"{where}: needs an `id` of its own")
        elif key in seen:
            faults.append(f"{where}: an annotation has this id already")
        elif not _is_id(image) or image not in listed:
            faults.append(f"{where}: its image_id {image!r} is not among the images")
        else:
            seen.add(key)
            grouped.setdefault(image, []).append(entry)
    return grouped


def _sizes(
    entries: dict[Any, tuple[str, dict[str, Any]]], root: Path, check_files: bool, faults: list[str]
) -> dict[Any, Size]:
    """Sizes of the images without faults."""
    stated: dict[Any, Size | None] = {}
    for key, (_, entry) in entries.items():
        height, width = entry.get("height"), entry.get("width")
        if height is None and width is None:
            stated[key] = None
        elif type(height) is int and type(width) is int and height > 0 and width > 0:
            stated[key] = (height, width)
        else:
            faults.append(
                f"images id {key!r} ({entry['file_name']}): `width` and `height` must be positive whole "
                f"pixels, not {width!r} and {height!r}"
            )
    headers = Sizes(
        [entries[key][0] for key, size in stated.items() if check_files or size is None],
        what=f"`file_name`s start from {root}; give `images`, the folder that they start from",
    )
    nothing = headers.none_there()
    if nothing is not None:
        faults.append(nothing)
        return {}
    sizes = {}
    for key, size in stated.items():
        try:
            sizes[key] = headers.check(entries[key][0], size)
        except ValueError as error:
            faults.append(f"images id {key!r}: {error}")
    return sizes


def _instances(
    entries: list[dict[str, Any]], names: Mapping[Any, str], size: Size, choice: Choice, faults: list[str]
) -> Iterator[Instance]:
    for entry in entries:
        where = f"annotation id {entry['id']!r} (image_id {entry['image_id']!r})"
        category = entry.get("category_id")
        if not _is_id(category) or category not in names:
            faults.append(f"{where}: its category_id {category!r} is not among the categories")
        elif choice.counts(names[category]):
            try:
                runs, crowd = _pixels(entry, size), _crowd(entry)
            except ValueError as error:
                faults.append(f"{where}: {error}")
            else:
                yield Instance(str(entry["id"]), names[category], runs, aside=crowd)


def _pixels(entry: Mapping[str, Any], size: Size) -> Runs:
    """Segmentation, or the box where there is none."""
    box = entry.get("bbox")
    corners = None if box is None or box == [] else _corners(box)
    segmentation = entry.get("segmentation")
    if isinstance(segmentation, dict):
        return coded_runs(segmentation, size)
    if isinstance(segmentation, list) and segmentation:
        return polygon_runs(segmentation, size)
    if segmentation is not None and segmentation != []:
        raise ValueError(
            f"`segmentation` must be polygons or a run-length code, not {str(segmentation)[:60]!r}"
        )
    if corners is None:
        raise ValueError("it has neither `segmentation` nor `bbox`")
    return box_runs(corners, size)


def _corners(box: Any) -> list[float]:
    """x0, y0, x1, y1 of COCO's x, y, width, height."""
    if not isinstance(box, list) or len(box) != 4 or not all(type(value) in (int, float) for value in box):
        raise ValueError(f"`bbox` must be [x, y, width, height], not {str(box)[:60]}")
    x, y, width, height = box
    if not (abs(x) + abs(y) + abs(width) + abs(height) < float("inf")):
        raise ValueError(f"`bbox` {box} holds a value that is not a finite number")
    if width < 0 or height < 0:
        raise ValueError(f"`bbox` {box} has a negative width or height; it is [x, y, width, height]")
    return [x, y, x + width, y + height]


def _crowd(entry: Mapping[str, Any]) -> bool:
    crowd = entry.get("iscrowd", 0)
    if crowd not in (0, 1, None):
        raise ValueError(f"`iscrowd` must be 0 or 1, not {crowd!r}")
    return bool(crowd)


def _is_id(key: Any) -> bool:
    return isinstance(key, int | str) and not isinstance(key, bool)


def _is_column(name: str, value: Any) -> bool:
    return name not in _NO_COLUMNS and (value is None or isinstance(value, str | int | float | bool))


def _brief(entry: Mapping[str, Any]) -> str:
    text = json.dumps(entry, default=str)
    return text if len(text) <= 80 else text[:77] + "..."
