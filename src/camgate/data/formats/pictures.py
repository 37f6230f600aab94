"""Pictures of data sets that live in memory, as files: all of them or nothing."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from camgate.data.formats.rows import frame_of
from camgate.data.manifest import validate_manifest
from camgate.data.zones import Zone, apply_zone
from camgate.errors import ManifestError
from camgate.files import atomic_folder

Rows = list[dict[str, Any]]
_SUFFIXES = {"JPEG": ".jpg", "TIFF": ".tif", "JPEG2000": ".jp2", "MPO": ".jpg"}


def write_picture(picture: Image.Image, folder: Path, name: str) -> str:
    """Write a decoded picture as PNG, without loss.

    Returns:
        The path in `folder`.

    Raises:
        ValueError: pixels that a PNG cannot hold (floating-point numbers, CMYK).
    """
    place = folder / f"{name}.png"
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        picture.save(place, format="PNG")
    except OSError as error:
        if "cannot write mode" not in str(error):
            raise
        raise ValueError(f"pixels of mode {picture.mode} cannot be written as PNG without loss") from error
    return f"{name}.png"


def write_bytes(content: bytes, folder: Path, name: str) -> str:
    """Write an encoded picture as it is; its suffix says what it is.

    Returns:
        The path in `folder`.

    Raises:
        ValueError: not a picture.
    """
    try:
        with Image.open(io.BytesIO(content)) as picture:
            kind = str(picture.format)
    except Exception as error:  # decoders raise whatever their format's library raises
        raise ValueError("its bytes are no image, or damaged at their start") from error
    path = f"{name}{_SUFFIXES.get(kind, f'.{kind.lower()}')}"
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(content)
    return path


def manifest_of(
    rows: Callable[[Path | None, list[str]], Rows],
    folder: Path | None,
    *,
    source: str,
    zone: Zone | Sequence[Zone] | None,
) -> pd.DataFrame:
    """A manifest of rows that may write their pictures while they are made.

    Args:
        rows: called with the folder to write into (None: there is none) and the list that receives faults;
            returns rows whose paths are absolute or start from that folder.
        folder: new; receives the pictures and `manifest.csv`, or nothing at all on any fault.
        source: name for messages.
        zone: fixed zone(s) of the camera.

    Raises:
        ManifestError: any fault.
    """

    def framed(scratch: Path | None) -> pd.DataFrame:
        faults: list[str] = []
        made = rows(scratch, faults)
        if faults:
            raise ManifestError(source, faults)
        frame = frame_of(made, ("image", "label"))
        return frame if zone is None else apply_zone(frame, zone)

    if folder is None:
        return validate_manifest(framed(None), source=source)
    with atomic_folder(folder) as scratch:
        frame = framed(scratch)
        validate_manifest(frame, source=source, root=scratch)
        frame.to_csv(scratch / "manifest.csv", index=False)
    return validate_manifest(frame, source=source, root=folder, check_files=False)
