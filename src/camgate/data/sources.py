"""Where manifests come from: folders, CSV and Parquet files, and whatever `load_data` recognises."""

from __future__ import annotations

import difflib
import inspect
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import pandas as pd

from camgate.data.cells import not_unicode
from camgate.data.formats.coco import load_coco
from camgate.data.formats.voc import load_voc
from camgate.data.formats.yolo import load_yolo
from camgate.data.images import IMAGE_SUFFIXES
from camgate.data.manifest import validate_manifest
from camgate.data.tables import parse_csv, parse_parquet
from camgate.data.zones import Zone, apply_zone
from camgate.errors import InputError, ManifestError
from camgate.storage import folder_of, is_remote, local_path, read_bytes

SPLITS = frozenset({"train", "val", "validation", "test"})
_PARQUET = frozenset({".parquet", ".pq"})

_log = logging.getLogger(__name__)

StrPath = str | os.PathLike[str]
Zones = Zone | Sequence[Zone] | None


def load_folder(images: StrPath, masks: StrPath | None = None, *, zone: Zones = None) -> pd.DataFrame:
    """Read a folder of images; a sub-folder is a class.

    When all sub-folders are named `train`, `val`, `validation` or `test` and hold sub-folders in turn,
    these are the splits and the level below holds the classes. Folders below a class are searched too.
    Hidden files and files that are no images are passed over.

    Args:
        images: the folder.
        masks: folder with the same layout; the mask of `a/b.jpg` is `a/b.png`. Images without one have
            no region.
        zone: fixed zone(s) of the camera, valid or invalid.

    Returns:
        A validated manifest.

    Raises:
        InputError: no such folder, no sub-folders, or no mask matches.
        ManifestError: faults in the files, or a class without images.
    """
    folder = _folder(images, "images")
    tops = _subfolders(folder)
    if not tops:
        raise InputError(f"{folder}: no sub-folders; images are expected in one sub-folder for each class.")
    split = all(top.name in SPLITS and _subfolders(top) and not _files(top, deep=False) for top in tops)
    parents = tops if split else [folder]
    faults = [
        f"{path.relative_to(folder)}: lies beside the class folders; move it into one of them"
        for parent in {folder, *parents}
        for path in _files(parent, deep=False)
    ]
    records = []
    counts: dict[str, int] = {}
    for parent in parents:
        for class_folder in _subfolders(parent):
            files = _files(class_folder, deep=True)
            counts[class_folder.name] = counts.get(class_folder.name, 0) + len(files)
            records += [(path, class_folder.name, parent.name) for path in files]
    faults += [f"class {name!r} has no image" for name, count in counts.items() if not count]
    strange = (not_unicode(path.relative_to(folder).as_posix()) for path, _, _ in records)
    faults += [why for why in strange if why is not None]
    if faults:
        raise ManifestError(str(folder), sorted(faults))
    frame = pd.DataFrame(
        {"image": [str(path) for path, _, _ in records], "label": [label for _, label, _ in records]}
    )
    if split:
        frame["split"] = [top for _, _, top in records]
    if masks is not None:
        places = _mask_places(folder, _folder(masks, "masks"), [path for path, _, _ in records])
        frame["region"] = pd.Series(places, dtype=object)
    if zone is not None:
        frame = apply_zone(frame, zone)
    return validate_manifest(frame, source=str(folder), root=folder)


def load_manifest(path: StrPath, *, zone: Zones = None) -> pd.DataFrame:
    """Read a manifest file; relative paths in it start from the file's folder.

    In CSV every cell is text, so that the labels `0`, `NA` and `null` stay what they are; an empty cell
    is blank. In Parquet, integers read the same way.

    Args:
        path: `.csv` (UTF-8, separated by commas) or `.parquet`; a file, or a URL that fsspec knows.
        zone: fixed zone(s) of the camera, on top of a column `zone`.

    Returns:
        A validated manifest.

    Raises:
        InputError: no such file, or one that cannot be read as what its suffix says.
        ManifestError: faults in it; rows are named as a text editor numbers them (CSV, header = 1), or
            counted from 1 (Parquet).
    """
    file = str(path) if is_remote(path) else str(local_path(path).absolute())
    suffix = PurePath(file).suffix.lower()
    if suffix != ".csv" and suffix not in _PARQUET:
        raise InputError(
            f"{file}: a manifest is a .csv or a .parquet file, not {suffix or 'one without suffix'}."
        )
    try:
        content = read_bytes(file)
    except FileNotFoundError:
        raise InputError(f"{file}: no such manifest.") from None
    except OSError as error:
        raise InputError(f"{file}: the manifest cannot be read ({error.strerror or error}).") from error
    rows: list[int] | None = None
    root = folder_of(file) if is_remote(file) else os.path.dirname(file)
    if suffix == ".csv":
        frame, rows = parse_csv(content, file)
    else:
        frame = parse_parquet(content, file)
    if zone is not None:
        # First without files: faults in the file's own zone cells are to be collected with all others.
        frame = validate_manifest(frame, source=file, root=root, rows=rows, check_files=False)
        frame = apply_zone(frame, zone)
    return validate_manifest(frame, source=file, root=root, rows=rows)


def load_data(path: StrPath, *, options: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """Read data in whatever known layout it has.

    Args:
        path: a `.csv` or `.parquet` manifest (also by URL), a COCO `.json` file, a YOLO `.yaml` file, or a
            folder that holds `manifest.csv` or `manifest.parquet`, or `data.yaml` (YOLO), or `Annotations/`
            and `JPEGImages/` (Pascal VOC), or `images/` and (optionally) `masks/`, or class sub-folders.
        options: keyword arguments for the layout's reader, e.g. `{"multiple": "largest"}` for `load_coco`.

    Returns:
        A validated manifest.

    Raises:
        InputError: nothing of that kind is there, or an option that its reader does not have.
    """
    reader, arguments = _reader(path)
    given = dict(options or {})
    known = [name for name in inspect.signature(reader).parameters if name not in arguments]
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            raise InputError(
                f"{path}: no option {name!r} for {reader.__name__}"
                f"{f'; did you mean {near[0]!r}?' if near else ''} (there are: {', '.join(known)})."
            )
    return reader(**arguments, **given)


def _reader(path: StrPath) -> tuple[Callable[..., pd.DataFrame], dict[str, Any]]:
    """Who reads this, and what it is to be called with."""
    if is_remote(path):
        return load_manifest, {"path": path}
    place = local_path(path).absolute()
    suffix = place.suffix.lower()
    if not place.is_dir() and suffix == ".json":
        return load_coco, {"annotations": place}
    if not place.is_dir() and suffix in {".yaml", ".yml"}:
        return load_yolo, {"folder_or_yaml": place}
    if not place.is_dir():
        return load_manifest, {"path": place}
    named = [place / name for name in ("manifest.csv", "manifest.parquet") if (place / name).is_file()]
    if len(named) > 1:
        raise InputError(f"{place}: holds manifest.csv and manifest.parquet; name the one to use.")
    if named:
        return load_manifest, {"path": named[0]}
    if (place / "data.yaml").is_file():
        return load_yolo, {"folder_or_yaml": place}
    if (place / "Annotations").is_dir() and (place / "JPEGImages").is_dir():
        return load_voc, {"folder": place}
    if (place / "images").is_dir():
        masks = {"masks": place / "masks"} if (place / "masks").is_dir() else {}
        return load_folder, {"images": place / "images", **masks}
    if not _subfolders(place):
        raise InputError(
            f"{place}: no data found; expected manifest.csv, manifest.parquet, data.yaml (YOLO), "
            "Annotations/ and JPEGImages/ (VOC), images/ (and masks/), or one sub-folder for each class. "
            "A COCO file is named itself."
        )
    return load_folder, {"images": place}


def _folder(path: StrPath, what: str) -> Path:
    folder = Path(path).absolute()
    if not folder.is_dir():
        problem = "is a file; a folder is expected" if folder.exists() else "no such folder"
        raise InputError(f"{folder}: {problem} (`{what}`).")
    return folder


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _files(folder: Path, *, deep: bool) -> list[Path]:
    """Image files, sorted; those of sub-folders too if `deep`."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if deep and not name.startswith(".")]
        found += [
            Path(place, name)
            for name in names
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES
        ]
    return sorted(found)


def _mask_places(images: Path, masks: Path, files: list[Path]) -> list[str | None]:
    expected = [masks / path.relative_to(images).with_suffix(".png") for path in files]
    places = [str(path) if path.is_file() else None for path in expected]
    if not any(places):
        raise InputError(
            f"{masks}: no mask matches an image of {images}; the mask of {files[0].relative_to(images)} "
            f"would be {expected[0].relative_to(masks)}."
        )
    unused = set(_files(masks, deep=True)).difference(expected)
    if unused:
        _log.warning("%s: %d mask(s) belong to no image, the first: %s", masks, len(unused), min(unused))
    return places
