"""What data was this: one number over rows and bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from camgate.data.cells import as_text
from camgate.data.images import UnreadableImage, check_regular
from camgate.data.many_files import for_each_file
from camgate.data.rle import is_region_cell
from camgate.data.zones import zones_from_json


def data_digest(manifest: pd.DataFrame) -> str:
    """SHA-256 over the sorted rows of a validated manifest, files included.

    A row counts by (image_id, label, group, split, SHA-256 of the image's bytes, SHA-256 of the region's
    bytes or its own text, zone, and where there are such columns crop and region rule). Where the files
    lie, the order of the rows and further columns do not matter; a zone's mask counts by its bytes.

    Args:
        manifest: validated rows.

    Returns:
        64 hex digits.

    Raises:
        UnreadableImage: a file cannot be read.
    """
    texts = {
        name: [as_text(cell) for cell in manifest[name]] if name in manifest else [""] * len(manifest)
        for name in ("image_id", "label", "group", "split", "image", "region", "zone")
    }
    zones = {text: _zone_content(text) for text in set(texts["zone"])}
    columns: list[list[Any]] = [texts[name] for name in ("image_id", "label", "group", "split")]
    columns += [_file_digests(texts["image"]), _file_digests(texts["region"])]
    columns.append([zones[text] for text in texts["zone"]])
    # Only where there are such columns: the digest of other manifests stays what it was.
    columns += [
        [as_text(cell) for cell in manifest[name]] for name in ("crop", "region_rule") if name in manifest
    ]
    lines = sorted(json.dumps(row) for row in zip(*columns, strict=True))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _file_digests(paths: Sequence[str]) -> list[str]:
    """SHA-256 of each file, "" for no file; a file named twice is read once."""
    unique = sorted(set(paths))
    digests = dict(zip(unique, for_each_file(_file_digest, unique), strict=True))
    return [digests[path] for path in paths]


def _file_digest(path: str) -> str:
    if not path:
        return ""
    if is_region_cell(path):
        return hashlib.sha256(path.encode()).hexdigest()
    try:
        check_regular(path)
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UnreadableImage(f"{path}: cannot be read ({error.strerror}).") from error


def _zone_content(text: str) -> Any:
    content = []
    for zone in zones_from_json(text):
        shape: Any = zone.polygon if zone.mask is None else _file_digest(zone.mask)
        content.append([shape, zone.valid])
    return content
