"""A shard as two files, complete or absent.

`shard-00003-of-00008.parquet` holds scores, raw maps and file digests of its rows, and, written last,
`shard-00003-of-00008.json` says of which audit it is and what the first one's SHA-256 is. Without the second
the first does not count.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from camgate.audit.onepass import Pass
from camgate.audit.result import AuditSettings
from camgate.audit.scores import RegionGrid
from camgate.data.digest import FileDigests
from camgate.data.many_files import for_each_file
from camgate.errors import InputError
from camgate.storage import exists, join, put_file, read_bytes

Group = tuple[np.ndarray, Pass, FileDigests]
"""Rows: their positions in the audited rows, their scores and maps, the digests of their files."""
_TEXTS = ("predicted", "target", "status")
_NUMBERS = (
    "confidence",
    "invalid_activation",
    "invalid_activation_label",
    "invalid_area",
    "invalid_area_raw",
    "invalid_lift",
    "peak_invalid",
)
_GRIDS = ("map", "valid", "counted")


class DamagedShard(InputError):  # noqa: N818  # as UnreadableImage
    """A shard whose files are not what was written; to be made again."""


class ShardMark(BaseModel):
    """Says that a shard is complete, and of which audit it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1]
    shard: int
    """0-based number."""
    shards: int
    rows: int
    model_digest: str
    manifest_digest: str
    """SHA-256 hex over the rows of all shards as they stand in the manifest, without the files' contents."""
    settings: AuditSettings
    """Its seed is 0: it follows from the data of all shards."""
    versions: dict[str, str]
    sha256: str
    """Of the Parquet file, hex."""


@dataclass(frozen=True)
class Shard:
    """A finished shard.

    Attributes:
        mark: what it is.
        content: the bytes of its Parquet file.
    """

    mark: ShardMark
    content: bytes

    @property
    def name(self) -> str:
        """The name of its files, without suffix."""
        return shard_name(self.mark.shard, self.mark.shards)

    @classmethod
    def load(cls, folder: str | Path, shard: int, shards: int) -> Shard:
        """Read it from a folder or a folder's URL.

        Raises:
            FileNotFoundError: it is not there, or not complete.
            DamagedShard: it is not what was written.
            InputError: of another version of camgate, of another number, or the storage refuses.
        """
        address = join(folder, f"{shard_name(shard, shards)}.json")
        mark = _read_mark(address)
        if (mark.shard, mark.shards) != (shard, shards):
            raise InputError(
                f"{address}: holds shard {mark.shard} of {mark.shards}; files of shards keep their names. "
                "Remove both."
            )
        content = _read(join(folder, f"{shard_name(shard, shards)}.parquet"))
        if hashlib.sha256(content).hexdigest() != mark.sha256:
            raise DamagedShard(f"{address}: the Parquet file beside it has another SHA-256; remove both.")
        return cls(mark, content)

    def save(self, folder: str | Path) -> None:
        """Write both files to a folder or a folder's URL, the mark last.

        Raises:
            InputError: the storage refuses.
        """
        mark = (self.mark.model_dump_json(indent=2) + "\n").encode()
        with tempfile.TemporaryDirectory() as scratch:
            for suffix, content in ((".parquet", self.content), (".json", mark)):
                local = Path(scratch, self.name + suffix)
                local.write_bytes(content)
                put_file(local, join(folder, local.name))

    def rows(self) -> np.ndarray:
        """Positions in the audited rows, int64 `(rows,)`."""
        return np.asarray(pq.read_table(pa.BufferReader(self.content), columns=["row"])["row"].to_numpy())

    def read(self) -> Group:
        """Positions in the audited rows, their scores and maps, and the digests of their files."""
        table = pq.read_table(pa.BufferReader(self.content))
        size = self.mark.settings.map_size
        grids = {
            name: table[name].combine_chunks().flatten().to_numpy().reshape(-1, *size) for name in _GRIDS
        }
        columns = table.select([*_TEXTS, *_NUMBERS]).to_pandas()
        scored = Pass(columns, grids["map"], RegionGrid(grids["valid"], grids["counted"]))
        digests = FileDigests(table["image_sha256"].to_pylist(), table["region_sha256"].to_pylist())
        return table["row"].to_numpy(), scored, digests


def shard_name(shard: int, shards: int) -> str:
    """`shard-00003-of-00008`."""
    return f"shard-{shard:05d}-of-{shards:05d}"


def shard_of(image_ids: Sequence[str], shards: int) -> np.ndarray:
    """The shard of each image: SHA-256 of its id, modulo the number of shards.

    Args:
        image_ids: `(n,)`.
        shards: >= 1.

    Returns:
        int64 `(n,)`, 0..shards-1; of an image the same whatever other images there are.
    """
    return np.array(
        [int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) % shards for name in image_ids],
        dtype=np.int64,
    )


def missing_shards(folder: str | Path, shards: int) -> list[int]:
    """The numbers of the shards that a folder, or a folder's URL, does not hold yet.

    Raises:
        InputError: the storage refuses.
    """
    held = for_each_file(
        lambda number: exists(join(folder, f"{shard_name(number, shards)}.json")), range(shards)
    )
    return [number for number, there in enumerate(held) if not there]


def write_rows(
    file: Path, map_size: tuple[int, int], groups: Iterable[Group], progress: Callable[[int], None]
) -> None:
    """Stream rows into the Parquet file of a shard.

    Args:
        file: to be made.
        map_size: of the raw maps, in cells.
        groups: positions in the audited rows, scores and maps, digests of the files.
        progress: called with the number of rows written.
    """
    done = 0
    progress(0)
    with pq.ParquetWriter(file, _schema(map_size), compression="zstd") as writer:
        for positions, part, digests in groups:
            columns: dict[str, Any] = {"row": positions}
            columns |= {name: part.table[name] for name in part.table.columns}
            columns |= {"image_sha256": digests.images, "region_sha256": digests.regions}
            grids = (part.maps, part.regions.valid, part.regions.counted)
            for name, grid in zip(_GRIDS, grids, strict=True):
                flat = pa.array(np.ascontiguousarray(grid, dtype=np.float32).ravel())
                columns[name] = pa.FixedSizeListArray.from_arrays(flat, int(np.prod(grid.shape[1:])))
            writer.write_table(pa.table(columns, schema=writer.schema))
            done += len(part.table)
            progress(done)
    pa.default_memory_pool().release_unused()  # compressing takes more than it keeps


def _schema(map_size: tuple[int, int]) -> pa.Schema:
    grid = pa.list_(pa.float32(), int(np.prod(map_size)))
    columns = [("row", pa.int64())]
    columns += [(name, pa.string()) for name in (*_TEXTS, "image_sha256", "region_sha256")]
    columns += [(name, pa.float64()) for name in _NUMBERS] + [(name, grid) for name in _GRIDS]
    return pa.schema(columns)


def _read(address: str) -> bytes:
    try:
        return read_bytes(address)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InputError(f"{address} cannot be read: {error.strerror or error}.") from error


def _read_mark(address: str) -> ShardMark:
    content = _read(address)
    try:
        return ShardMark.model_validate(json.loads(content))
    except ValidationError as error:
        raise InputError(f"{address}: not a shard that this version of camgate wrote; remove it.") from error
    except ValueError as error:
        raise DamagedShard(f"{address}: damaged, no JSON; remove it.") from error
