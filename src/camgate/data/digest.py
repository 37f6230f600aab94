"""What data was this: one number over rows and bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from camgate.data.cells import as_text
from camgate.data.images import UnreadableImage, check_regular
from camgate.data.many_files import for_each_file
from camgate.data.rle import is_region_cell
from camgate.data.zones import zones_from_json
from camgate.storage import is_remote, read_bytes


@dataclass(frozen=True)
class FileDigests:
    """SHA-256 (hex) of each row's image and region; a region that is no file counts by its own text.

    Attributes:
        images: one a row.
        regions: one a row, "" without a region.
    """

    images: list[str]
    regions: list[str]

    def take(self, rows: Sequence[int] | np.ndarray) -> FileDigests:
        """Those of some rows."""
        return FileDigests([self.images[row] for row in rows], [self.regions[row] for row in rows])

    @classmethod
    def join(cls, parts: Sequence[FileDigests]) -> FileDigests:
        """One behind the other."""
        return cls(
            [text for part in parts for text in part.images],
            [text for part in parts for text in part.regions],
        )


def file_digests(manifest: pd.DataFrame) -> FileDigests:
    """The digests of a validated manifest's files.

    Raises:
        UnreadableImage: a file cannot be read.
    """
    return FileDigests(*(_file_digests(_texts(manifest, name)) for name in ("image", "region")))


def data_digest(manifest: pd.DataFrame, files: FileDigests | None = None) -> str:
    """SHA-256 over the sorted rows of a validated manifest, files included.

    A row counts by (image_id, label, group, split, SHA-256 of the image's bytes, SHA-256 of the region's
    bytes or its own text, zone, and where there are such columns crop and region rule). Where the files
    lie, the order of the rows and further columns do not matter; a zone's mask counts by its bytes.

    Args:
        manifest: validated rows.
        files: of the same rows, where they are known already; None reads the files.

    Returns:
        64 hex digits.

    Raises:
        UnreadableImage: a file cannot be read.
    """
    files = file_digests(manifest) if files is None else files
    zone_texts = _texts(manifest, "zone")
    zones = {text: _zone_content(text) for text in set(zone_texts)}
    columns: list[list[Any]] = [_texts(manifest, name) for name in ("image_id", "label", "group", "split")]
    columns += [files.images, files.regions, [zones[text] for text in zone_texts]]
    # Only where there are such columns: the digest of other manifests stays what it was.
    columns += [_texts(manifest, name) for name in ("crop", "region_rule") if name in manifest]
    lines = sorted(json.dumps(row) for row in zip(*columns, strict=True))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _texts(manifest: pd.DataFrame, column: str) -> list[str]:
    return [as_text(cell) for cell in manifest[column]] if column in manifest else [""] * len(manifest)


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
        if is_remote(path):
            return hashlib.sha256(read_bytes(path)).hexdigest()
        check_regular(path)
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UnreadableImage(f"{path}: cannot be read ({error.strerror or error}).") from error


def _zone_content(text: str) -> Any:
    content = []
    for zone in zones_from_json(text):
        shape: Any = zone.polygon if zone.mask is None else _file_digest(zone.mask)
        content.append([shape, zone.valid])
    return content
