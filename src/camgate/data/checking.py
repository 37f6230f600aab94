"""A manifest's files: are they there, and do regions and zones have their image's size."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial

from camgate.data.crops import Crop
from camgate.data.images import UnreadableImage, read_size
from camgate.data.many_files import for_each_file
from camgate.data.rle import cell_size, is_region_cell
from camgate.data.zones import zones_from_json
from camgate.errors import InputError
from camgate.storage import is_remote

Header = tuple[int, int] | str
"""Size `(height, width)`, or what is wrong with the file; `MISSING` when it is not there."""

MISSING = "no such file"


def file_faults(
    images: Sequence[str | None],
    regions: Sequence[str | None],
    zones: Sequence[str | None] | None = None,
    crops: Sequence[Crop | None] | None = None,
) -> tuple[list[tuple[int, str, str]], list[str]]:
    """Look at every file's header.

    Args:
        images: absolute path of each row; None is skipped.
        regions: mask of each row (a file, or encoded), or None.
        zones: JSON of each row, or None.
        crops: window of each row, or None.

    Returns:
        Faults as (position, column, text), and one line for each image that is there but has no
        readable header.
    """
    image_headers = for_each_file(_header, images)
    region_headers = for_each_file(partial(_header, mask=True), regions)
    faults: list[tuple[int, str, str]] = []
    unreadable: list[str] = []
    for position, (image, header) in enumerate(zip(images, image_headers, strict=True)):
        if header == MISSING:
            faults.append((position, "image", f"{image}: {MISSING}{_hint(str(image))}"))
        elif isinstance(header, str) and os.path.isdir(str(image)):
            faults.append((position, "image", header))
        elif isinstance(header, str):
            unreadable.append(header)
        region = region_headers[position]
        if region == MISSING:
            faults.append(
                (position, "region", f"{regions[position]}: {MISSING}{_hint(str(regions[position]))}")
            )
        elif isinstance(region, str):
            faults.append((position, "region", region))
        elif region is not None and isinstance(header, tuple) and region != header:
            faults.append(
                (
                    position,
                    "region",
                    f"{_name(regions[position])} is {region[1]}x{region[0]} pixels (width x height), its "
                    f"upright image {header[1]}x{header[0]}; they must be equal",
                )
            )
        crop = None if crops is None else crops[position]
        if crop is not None and isinstance(header, tuple):
            try:
                crop.check(header)
            except ValueError as error:
                faults.append((position, "crop", f"{image}: {error}"))
    if zones is not None:
        faults += _zone_faults(zones, image_headers)
    return faults, unreadable


def faults_outside(
    folder: str, images: Sequence[str | None], regions: Sequence[str | None], zones: Sequence[str | None]
) -> list[tuple[int, str, str]]:
    """Files that lie outside a folder once symbolic links are followed, as (position, column, text).

    Args:
        folder: where all files must lie.
        images: absolute path of each row, or None.
        regions: mask of each row (a file, or encoded), or None.
        zones: JSON of each row, or None.
    """
    root = os.path.realpath(folder)
    known: dict[str, str] = {}

    def outside(path: str) -> str | None:
        place = os.path.dirname(path)
        if place not in known:  # folders are few, and each step of a path is a question to the disk
            known[place] = os.path.realpath(place)
        real = os.path.join(known[place], os.path.basename(path))
        real = os.path.realpath(real) if os.path.islink(real) else real
        return None if real.startswith(root.rstrip(os.sep) + os.sep) else real

    faults = []
    for position, (image, region, zone) in enumerate(zip(images, regions, zones, strict=True)):
        masks = [str(part.mask) for part in zones_from_json(zone) if part.mask] if zone else []
        named = [("image", image), ("region", None if is_region_cell(region) else region)]
        for column, path in [*named, *(("zone", mask) for mask in masks)]:
            real = (path if is_remote(path) else outside(path)) if path else None
            if real is not None:
                told = path if real == path else f"{path} (in truth {real})"
                faults.append((position, column, f"{told} lies outside {folder}"))
    return faults


def _header(path: str | None, *, mask: bool = False) -> Header | None:
    if path is None or is_remote(path):
        return None  # a look at each of a million remote files would take hours
    try:
        if mask and is_region_cell(path):
            return cell_size(path)
        return read_size(path, mask=mask)
    except InputError as error:
        if isinstance(error, UnreadableImage) and not os.path.exists(path):
            return MISSING
        return str(error).removesuffix(".")


def _name(region: str | None) -> str:
    return "the encoded region" if is_region_cell(region) else str(region)


def _hint(path: str) -> str:
    if "\\" in path:
        return "; write folders with '/' instead of '\\'"
    folder = os.path.dirname(path)
    return "" if os.path.isdir(folder) else f" (the folder {folder} does not exist either)"


def _zone_faults(zones: Sequence[str | None], headers: Sequence[Header | None]) -> list[tuple[int, str, str]]:
    """Zone masks that are missing or of another size than the images; each pair is looked at once."""
    seen: dict[tuple[str, tuple[int, int]], str | None] = {}
    faults = []
    for position, (text, header) in enumerate(zip(zones, headers, strict=True)):
        if not text or not isinstance(header, tuple):
            continue
        key = (text, header)
        if key not in seen:
            seen[key] = _zone_fault(text, header)
        what = seen[key]
        if what is not None:
            faults.append((position, "zone", what))
    return faults


def _zone_fault(text: str, size: tuple[int, int]) -> str | None:
    for zone in zones_from_json(text):
        if zone.mask is None:
            continue
        header = _header(zone.mask, mask=True)
        if header == MISSING:
            return f"{zone.mask}: {MISSING}{_hint(zone.mask)}"
        if isinstance(header, str):
            return header
        if header != size and header is not None:
            return (
                f"{zone.mask} is {header[1]}x{header[0]} pixels (width x height), the image "
                f"{size[1]}x{size[0]}; give the mask the images' size, or use a polygon"
            )
    return None
