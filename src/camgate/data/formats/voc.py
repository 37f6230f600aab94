"""Pascal VOC folders: Annotations, JPEGImages, SegmentationObject, SegmentationClass, ImageSets."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, get_args

import pandas as pd

from camgate.data.formats.instances import AnnotatedImage, Choice, Multiple
from camgate.data.formats.reading import Sizes, near, read_text, some
from camgate.data.formats.rows import build_manifest
from camgate.data.formats.voc_masks import VOC_CLASSES, VocMasks
from camgate.data.formats.voc_xml import VocFile, parse_voc
from camgate.data.images import IMAGE_SUFFIXES
from camgate.data.zones import Zone
from camgate.errors import InputError

StrPath = str | os.PathLike[str]
Regions = Literal["auto", "masks", "boxes"]
Difficult = Literal["void", "instance"]

_SPLITS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}

_log = logging.getLogger(__name__)


def load_voc(
    folder: StrPath,
    images: StrPath | None = None,
    *,
    label_from: str = "category",
    multiple: Multiple = "error",
    crop_margin: float = 0.25,
    categories: Sequence[str] | None = None,
    empty_label: str | None = None,
    regions: Regions = "auto",
    difficult: Difficult = "void",
    class_names: Sequence[str] = VOC_CLASSES,
    zone: Zone | Sequence[Zone] | None = None,
    check_files: bool = True,
) -> pd.DataFrame:
    """Read a Pascal VOC folder: one row per image with an annotation.

    Regions come from `SegmentationObject/<name>.png` (index n is the n-th object of the XML file), else from
    `SegmentationClass/<name>.png`, else from the objects' polygons or boxes. Index 255 is void: it belongs to
    neither side. A box is a generous region: it holds background in its corners, see `load_coco`.

    Where `ImageSets/Main` has `train.txt`, `val.txt` or `test.txt`, they become the column `split` ("val"
    becomes "validation", an image in none of them has a blank). Images without an XML file are passed over,
    with a warning.

    Args:
        folder: holds `Annotations/`.
        images: folder of the images; None: `JPEGImages/`.
        label_from: "category", "folder", the column `split`, or a file; see `load_coco`.
        multiple: what happens to images with several categories; see `load_coco`.
        crop_margin: for `multiple="crop"`; see `load_coco`.
        categories: names of the categories that count; None: all.
        empty_label: label of images without objects; None: they are an error.
        regions: "auto": masks where an image has one, boxes for the others, with a warning if both occur;
            "masks": only images with a mask are rows; "boxes": masks are not looked at.
        difficult: "void": objects marked so give no label and no crop, as in VOC's own evaluation, and their
            pixels are void where their category is the row's label; "instance": they are objects like others.
        class_names: names of index 1, 2, ... in `SegmentationClass`, where there is no `SegmentationObject`.
        zone: fixed zone(s) of the camera, see `apply_zone`.
        check_files: look for the images and compare their sizes with the stated ones.

    Returns:
        A validated manifest.

    Raises:
        InputError: no such folder, or a wrong option.
        ManifestError: faults, all of them, each with the file and the object.
    """
    choice = Choice(label_from, multiple, crop_margin, categories, empty_label)
    for option, value, allowed in (
        ("regions", regions, get_args(Regions)),
        ("difficult", difficult, get_args(Difficult)),
    ):
        if value not in allowed:
            raise InputError(
                f"`{option}` must be one of {', '.join(allowed)}, not {value!r}{near(str(value), allowed)}."
            )
    root = Path(folder).absolute()
    pictures = Path(images).absolute() if images is not None else root / "JPEGImages"
    for place, what in ((root / "Annotations", "XML files"), (pictures, "images")):
        if not place.is_dir():
            raise InputError(f"{place}: no such folder; the {what} of a VOC data set are expected there.")
    faults: list[str] = []
    known: set[str] = set()
    masks = VocMasks(root, class_names)
    found = _pairs(root / "Annotations", pictures, faults)
    if regions == "masks":
        found = {xml: image for xml, image in found.items() if masks.has(xml.stem)}
    splits = _splits(root / "ImageSets" / "Main", faults)
    sizes = Sizes(list(found.values()), what=f"they are expected in {pictures}; give `images`, their folder")
    nothing = sizes.none_there() if check_files else None
    if nothing is not None:
        faults.append(nothing)
    boxed: list[str] = []

    def annotated() -> Iterator[AnnotatedImage]:
        for xml, image in found.items() if nothing is None else ():
            try:
                file = parse_voc(xml)
                size = sizes.check(image, file.size) if check_files or file.size is None else file.size
            except ValueError as error:
                faults.append(f"{xml}: {error}")
                continue
            known.update(one.category for one in file.objects)
            if regions != "boxes" and masks.has(xml.stem):
                instances, void = masks.read(xml.stem, file, size, choice, difficult == "void", faults)
            else:
                boxed.append(xml.stem)
                instances, void = file.boxes(size, choice, difficult == "void", faults), None
            columns = {"split": splits.get(xml.stem, "")} if splits else {}
            name = Path(os.path.relpath(image, pictures)).as_posix()
            yield AnnotatedImage(image, name, size, instances, void, columns)

    manifest = build_manifest(
        annotated(),
        choice,
        source=str(root),
        root=pictures,
        faults=faults,
        known=known,
        zone=zone,
        check_files=check_files,
    )
    if boxed and len(boxed) < len(found) and regions == "auto":
        _log.warning(
            "%s: %d of %d images have no mask, their boxes are the regions (the first: %s); a box is the "
            "more generous region: use `regions` masks or boxes for one kind alone",
            root,
            len(boxed),
            len(found),
            some(boxed),
        )
    return manifest


def _pairs(annotations: Path, pictures: Path, faults: list[str]) -> dict[Path, str]:
    """The image of each XML file: that of the same name, else the one that it names."""
    there = {path.stem: path for path in sorted(pictures.iterdir()) if path.suffix.lower() in IMAGE_SUFFIXES}
    pairs: dict[Path, str] = {}
    owners: dict[str, Path] = {}
    for xml in sorted(annotations.glob("*.xml")):
        image = there.get(xml.stem)
        if image is None:
            try:
                image = pictures / (VocFile.open(xml).filename or f"{xml.stem}.jpg")
            except ValueError as error:
                faults.append(f"{xml}: {error}")
                continue
        path = os.path.normpath(image)
        if path in owners:
            faults.append(f"{xml}: its image {path} is that of {owners[path].name} already")
        else:
            owners[path] = xml
            pairs[xml] = path
    if not pairs and not faults:
        faults.append(f"{annotations}: no XML files")
    bare = sorted({str(path) for path in there.values()}.difference(pairs.values()))
    if bare and pairs:
        _log.warning("%s: %d image(s) have no XML file: %s", annotations, len(bare), some(bare))
    return pairs


def _splits(folder: Path, faults: list[str]) -> dict[str, str]:
    splits: dict[str, str] = {}
    for stem, split in _SPLITS.items():
        path = folder / f"{stem}.txt"
        for line in read_text(path).splitlines() if path.is_file() else ():
            name = line.split()[0] if line.strip() else ""
            if splits.get(name, split) != split:
                faults.append(f"{path}: {name!r} is in split {splits[name]!r} already")
            elif name:
                splits[name] = split
    return splits
