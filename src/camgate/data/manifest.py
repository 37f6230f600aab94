"""The manifest: one row per image. Validated as a whole, all faults in one message."""

from __future__ import annotations

import difflib
import logging
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

import pandas as pd

from camgate.data.cells import as_text, is_blank, locate
from camgate.data.checking import file_faults
from camgate.data.crops import Crop, read_crop
from camgate.data.digest import data_digest
from camgate.data.regions import rule_from_json
from camgate.data.rle import is_region_cell
from camgate.data.splits import audited_rows, training_rows
from camgate.data.zones import zones_from_json, zones_to_json
from camgate.errors import InputError, ManifestError, some_of
from camgate.storage import is_remote

__all__ = ["audited_rows", "data_digest", "manifest_classes", "training_rows", "validate_manifest"]

REQUIRED = ("image", "label")
OPTIONAL = ("image_id", "region", "split", "group", "zone", "region_rule", "crop")

HINTED = 20
"""So many wrong labels get a suggestion, and so many classes without an image a line of their own."""

_log = logging.getLogger(__name__)


def validate_manifest(
    frame: pd.DataFrame,
    *,
    source: str = "manifest",
    root: str | os.PathLike[str] | None = None,
    classes: Sequence[str] | None = None,
    check_files: bool = True,
    rows: Sequence[int] | None = None,
) -> pd.DataFrame:
    """Check a manifest and bring it to its canonical form. Validating the result again changes nothing.

    Of the files only headers are read, and of remote ones nothing. An image whose header cannot be read is
    no fault here: it is logged, and counted as unreadable by whoever decodes it, so that one bad file does
    not end a run.

    Args:
        frame: columns `image` (path, or a URL that fsspec knows) and `label`; optionally `image_id`, `region`
            (mask file, non-zero = valid; or run-length encoded, see `camgate.data.rle`), `split`, `group`,
            `zone`, `region_rule`, and `crop` (`left,top,right,bottom`, the row is that window of the image;
            only with different windows may an image occur twice); others are kept as they are.
        source: name for messages, e.g. the file.
        root: folder (or its URL) that relative paths start from; None: the working directory.
        classes: the labels a model knows. Then every label must be one of them, and each of them must
            have an image.
        check_files: look for the files and compare region and image size.
        rows: the number of each row in its file, for messages; None counts from 1.

    Returns:
        A copy with a fresh index. `image` and `region` are absolute paths (`region` None where there is
        none), `label` and `image_id` text; `split` and `group`, where present, text ("" where blank).

    Raises:
        ManifestError: with all faults; each names row and column.
    """
    _check_columns(frame, source)
    base = str(root) if is_remote(root) else Path(root if root is not None else ".").absolute()
    numbers = list(rows) if rows is not None else list(range(1, len(frame) + 1))
    result = frame.reset_index(drop=True)
    faults: list[tuple[int, str]] = []

    def fault(position: int, column: str, what: str) -> None:
        faults.append((position, f"row {numbers[position]}, column {column}: {what}"))

    images = _paths(result["image"].tolist(), "image", base, fault)
    given = result["region"].tolist() if "region" in result else [None] * len(result)
    regions = _paths(given, "region", base, fault)
    labels = [as_text(cell) for cell in result["label"].tolist()]
    general = _label_faults(labels, classes, fault)
    crops = _crops(result["crop"].tolist(), fault) if "crop" in result else [None] * len(result)
    windows = [
        image and (f"{image}#{crop}" if crop else image) for image, crop in zip(images, crops, strict=True)
    ]
    _repeated(windows, "image", numbers, fault)
    if "image_id" in result:
        ids: list[str] = [as_text(cell) for cell in result["image_id"].tolist()]
        for position, name in enumerate(ids):
            if not name:
                fault(position, "image_id", "empty; fill it, or leave the whole column out to have it made")
        _repeated(ids, "image_id", numbers, fault)
    else:
        ids = _make_ids(images, crops, base)
    zones = _zones(result["zone"].tolist(), base, fault) if "zone" in result else None
    rules = _rules(result["region_rule"].tolist(), fault) if "region_rule" in result else None
    if check_files:
        found, unreadable = file_faults(images, regions, zones, crops)
        for position, column, what in found:
            fault(position, column, what)
        if unreadable:
            _log.warning(
                "%s: %d image(s) without a readable header, the first: %s",
                source,
                len(unreadable),
                unreadable[0],
            )
    if faults or general:
        raise ManifestError(source, [text for _, text in sorted(faults, key=lambda item: item[0])] + general)

    columns: dict[str, list[Any]] = {"image_id": ids, "image": images, "label": labels, "region": regions}
    if zones is not None:
        columns["zone"] = zones
    if rules is not None:
        columns["region_rule"] = rules
    if "crop" in result:
        columns["crop"] = [None if crop is None else str(crop) for crop in crops]
    for name in ("split", "group"):
        if name in result:
            columns[name] = [as_text(cell) for cell in result[name].tolist()]
    for name, cells in columns.items():
        # dtype=object: pandas' text type would turn None into NaN
        result[name] = pd.Series(cells, index=result.index, dtype=object)
    return result


def manifest_classes(manifest: pd.DataFrame) -> tuple[str, ...]:
    """The labels that occur, sorted."""
    return tuple(sorted({as_text(label) for label in manifest["label"]}))


def _check_columns(frame: pd.DataFrame, source: str) -> None:
    """Faults of the table itself, without which looking at rows makes no sense."""
    names = [str(name) for name in frame.columns]
    repeated = sorted({name for name in names if names.count(name) > 1})
    faults = [f"column {name}: occurs {names.count(name)} times; keep one" for name in repeated]
    for wanted in REQUIRED:
        if wanted not in names:
            near = difflib.get_close_matches(wanted, [name.lower() for name in names], n=2, cutoff=0.5)
            like = [name for name in names if name.lower() in near]
            hint = f"; did you mean {' or '.join(map(repr, like))}?" if like else ""
            faults.append(f"column {wanted}: missing; the columns are {', '.join(names) or 'none'}{hint}")
    if not faults and frame.empty:
        faults.append("no rows: an empty manifest cannot be used")
    if faults:
        raise ManifestError(source, faults)
    for wanted in OPTIONAL:
        near = [name for name in names if name.lower().rstrip("s") == wanted and name != wanted]
        if near and wanted not in names:
            _log.warning("%s: column %r is not used; did you mean %r?", source, near[0], wanted)


def _paths(cells: list[Any], column: str, root: Path | str, fault: Any) -> list[str | None]:
    """Absolute paths; blank cells are None (a fault for `image`), encoded regions stay as they are."""
    paths: list[str | None] = []
    for position, cell in enumerate(cells):
        path = None
        if is_blank(cell):
            if column == "image":
                fault(position, column, "empty; a label without an image")
        elif column == "region" and is_region_cell(cell):
            path = str(cell)
        else:
            try:
                path = locate(cell, root)
            except ValueError as error:
                fault(position, column, str(error))
        paths.append(path)
    return paths


def _label_faults(labels: list[str], classes: Sequence[str] | None, fault: Any) -> list[str]:
    """Blank and unknown labels; returns the faults that belong to no row."""
    present = set(labels)
    known = [] if classes is None else [str(name) for name in classes]
    unknown: dict[str, str] = {}
    for name in sorted(present.difference(known, {""})) if classes is not None else ():
        # Looking for a near name takes time with each of the known ones: for the first faults it is worth it.
        near = difflib.get_close_matches(name, known, n=1) if len(unknown) < HINTED else []
        hint = f"; did you mean {near[0]!r}?" if near else ""
        unknown[name] = f"{name!r} is not one of the classes {some_of(known)}{hint}"
    for position, label in enumerate(labels):
        if not label:
            fault(position, "label", "empty")
        elif label in unknown:
            fault(position, "label", unknown[label])
    missing = [name for name in known if name not in present]
    if len(missing) <= HINTED:
        return [f"column label: class {name!r} has no image" for name in missing]
    return [f"column label: {len(missing)} of {len(known)} classes have no image: {some_of(missing)}"]


def _repeated(cells: Sequence[str | None], column: str, numbers: list[int], fault: Any) -> None:
    first: dict[str, int] = {}
    for position, cell in enumerate(cells):
        if cell:
            before = first.setdefault(cell, position)
            if before != position:
                fault(position, column, f"{cell!r} is in row {numbers[before]} already")


def _make_ids(images: Sequence[str | None], crops: Sequence[Crop | None], root: Path | str) -> list[str]:
    """Relative path without suffix; with suffix where two would be equal; then the window, if any."""
    images = [path and _as_local(path) for path in images]
    present = [path for path in images if path]
    start = _as_local(str(root))
    if present and any(not path.startswith(start.rstrip(os.sep) + os.sep) for path in present):
        start = os.path.commonpath([os.path.dirname(path) for path in present])
    relative = [PurePath(os.path.relpath(path, start)) if path else PurePath("") for path in images]
    short = [path.with_suffix("").as_posix() if path.name else "" for path in relative]
    whole = [path.as_posix() for path in relative]
    counts = Counter(dict(zip(whole, short, strict=True)).values())  # windows of one image count once
    taken = set(whole)  # "x.png" may be the short name of "x.png.png"
    return [
        (name if counts[name] == 1 and name not in taken else full) + (f"#{crop}" if crop else "")
        for name, full, crop in zip(short, whole, crops, strict=True)
    ]


def _as_local(path: str) -> str:
    """A URL as if it were a path, so that ids come out alike wherever the files are."""
    return "/" + path.replace("://", "/", 1) if is_remote(path) else path


def _crops(cells: list[Any], fault: Any) -> list[Crop | None]:
    crops: list[Crop | None] = []
    for position, cell in enumerate(cells):
        crop = None
        try:
            crop = read_crop(cell)
        except ValueError as error:
            fault(position, "crop", str(error))
        crops.append(crop)
    return crops


def _rules(cells: list[Any], fault: Any) -> list[str | None]:
    texts = [as_text(cell) for cell in cells]
    for position, text in enumerate(texts):
        try:
            rule_from_json(text)
        except InputError as error:
            fault(position, "region_rule", str(error))
    return [text or None for text in texts]


def _zones(cells: list[Any], root: Path | str, fault: Any) -> list[str | None]:
    """Zone cells with absolute mask paths; equal cells are read once."""
    seen: dict[str, str | None] = {}
    texts: list[str | None] = []
    for position, cell in enumerate(cells):
        text = as_text(cell)
        if text not in seen:
            seen[text] = None
            try:
                zones = zones_from_json(text, str(root))
                seen[text] = zones_to_json(zones) if zones else None
            except InputError as error:
                fault(position, "zone", str(error))
        texts.append(seen[text])
    return texts
