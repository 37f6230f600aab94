"""An audit in shards: each is complete or absent, finished ones are not done again, the whole is the same.

A shard is two files: `shard-00003-of-00008.parquet` with scores, raw maps and file digests of its rows, and,
written last, `shard-00003-of-00008.json` which says of which audit it is and what the first one's SHA-256
is. Without the second the first does not count.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from camgate.audit.finishing import LIBRARIES, finish
from camgate.audit.onepass import Pass, scored_batches
from camgate.audit.preparing import AuditOptions, Prepared, Progress, prepare
from camgate.audit.profile import stage
from camgate.audit.result import AuditResult, AuditSettings
from camgate.audit.scores import RegionGrid
from camgate.data.cells import as_text
from camgate.data.dataset import ImageDataset
from camgate.data.digest import FileDigests, data_digest, file_digests
from camgate.data.many_files import for_each_file
from camgate.data.staging import staged
from camgate.errors import InputError
from camgate.models.classifier import Classifier
from camgate.storage import exists, join, put_file, read_bytes

FORMAT = 1
ROW_GROUP = 2048
"""Rows held before they are written."""
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
_log = logging.getLogger(__name__)
_IDENTITY = ("image_id", "image", "label", "region", "split", "group", "zone", "crop", "region_rule")


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

    def read(self) -> tuple[np.ndarray, Pass, FileDigests]:
        """Positions in the audited rows, their scores and maps, and the digests of their files."""
        table = pq.read_table(pa.BufferReader(self.content))
        size = self.mark.settings.map_size
        grids = {
            name: table[name].combine_chunks().flatten().to_numpy().reshape(-1, *size) for name in _GRIDS
        }
        columns: dict[str, Any] = {name: np.array(table[name].to_pylist(), dtype=object) for name in _TEXTS}
        columns |= {name: table[name].to_numpy() for name in _NUMBERS}
        scored = Pass(pd.DataFrame(columns), grids["map"], RegionGrid(grids["valid"], grids["counted"]))
        digests = FileDigests(table["image_sha256"].to_pylist(), table["region_sha256"].to_pylist())
        return table["row"].to_numpy(), scored, digests


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


def score_shard(
    model: Classifier,
    manifest: pd.DataFrame,
    *,
    shard: int,
    shards: int,
    progress: Progress | None = None,
    **options: Any,
) -> Shard:
    """Heatmaps and scores of one shard, in memory that does not grow with the manifest's images.

    Args:
        model: the classifier.
        manifest: the whole manifest, as for `camgate.audit`.
        shard: 0-based number.
        shards: their number.
        progress: called with (stage, done, total).
        options: of `camgate.audit`; the same for all shards.

    Raises:
        InputError: an option or the manifest cannot be used, or no such shard.
        ModelError: the model cannot be audited.
    """
    _check_number(shard, shards)
    prepared = prepare(model, manifest, AuditOptions(**options))
    return _score(prepared, _terms(prepared), shard, shards, progress or _silent)


def keep_shard(
    model: Classifier,
    manifest: pd.DataFrame,
    *,
    shard: int,
    shards: int,
    folder: str | Path,
    progress: Progress | None = None,
    **options: Any,
) -> Shard:
    """One shard from the folder that keeps finished ones; where it is not there, or damaged, it is made.

    Args:
        model: the classifier.
        manifest: the whole manifest, as for `camgate.audit`.
        shard: 0-based number.
        shards: their number.
        folder: a path, or a URL that fsspec knows.
        progress: called with (stage, done, total).
        options: of `camgate.audit`; the same for all shards.

    Raises:
        InputError: as `score_shard`; or the folder holds this shard of another audit.
        ModelError: the model cannot be audited.
    """
    _check_number(shard, shards)
    prepared = prepare(model, manifest, AuditOptions(**options))
    return _kept(prepared, _terms(prepared), shard, shards, folder, progress or _silent)


def merge_shards(
    model: Classifier,
    manifest: pd.DataFrame,
    finished: Sequence[Shard],
    *,
    progress: Progress | None = None,
    **options: Any,
) -> AuditResult:
    """The audit from its shards: the same as without shards.

    Interventions, sanity, clusters and pictures are made here: their work is bounded whatever the number
    of images.

    Args:
        model: the classifier.
        manifest: the whole manifest.
        finished: all shards, in any order.
        progress: called with (stage, done, total).
        options: of `camgate.audit`, as the shards were made with.

    Raises:
        InputError: a shard is missing, twice there, or of another audit.
    """
    return _merge(prepare(model, manifest, AuditOptions(**options)), finished, progress or _silent)


def audit_in_shards(
    model: Classifier,
    manifest: pd.DataFrame,
    *,
    shards: int,
    folder: str | Path,
    progress: Progress | None = None,
    **options: Any,
) -> AuditResult:
    """Audit shard by shard; those that are in the folder already, undamaged, are not done again.

    Args:
        model: the classifier.
        manifest: as for `camgate.audit`.
        shards: their number, >= 1. A kill costs the shard that was being made.
        folder: where finished shards are kept; a path, or a URL that fsspec knows.
        progress: called with (stage, done, total).
        options: of `camgate.audit`.

    Raises:
        InputError: as `camgate.audit`; or the folder holds shards of another audit.
        ModelError: the model cannot be audited.
    """
    _check_number(0, shards)
    report = progress or _silent
    prepared = prepare(model, manifest, AuditOptions(**options))
    terms = _terms(prepared)
    finished = [_kept(prepared, terms, number, shards, folder, report) for number in range(shards)]
    return _merge(prepared, finished, report, terms)


def _kept(
    prepared: Prepared,
    terms: dict[str, Any],
    shard: int,
    shards: int,
    folder: str | Path,
    report: Progress,
) -> Shard:
    try:
        made = Shard.load(folder, shard, shards)
        _check_terms(made, terms)
        return made
    except FileNotFoundError:
        pass
    except DamagedShard as error:
        _log.warning("%s It is made again.", error)
    made = _score(prepared, terms, shard, shards, report)
    made.save(folder)
    return made


def _score(prepared: Prepared, terms: dict[str, Any], shard: int, shards: int, report: Progress) -> Shard:
    rows = np.flatnonzero(shard_of(prepared.rows["image_id"].tolist(), shards) == shard)
    name = shard_name(shard, shards)
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch, "shard.parquet")
        _write(file, prepared, rows, lambda done: report(name, done, len(rows)))
        content = file.read_bytes()
    return Shard(
        ShardMark(
            format=FORMAT,
            shard=shard,
            shards=shards,
            rows=len(rows),
            sha256=hashlib.sha256(content).hexdigest(),
            **terms,
        ),
        content,
    )


def _write(file: Path, prepared: Prepared, rows: np.ndarray, progress: Callable[[int], None]) -> None:
    """Stream the rows into a Parquet file, a group at a time."""
    done = 0
    progress(0)
    with pq.ParquetWriter(file, _schema(prepared), compression="zstd") as writer:
        for positions, part, digests in _scored(prepared, rows):
            columns: dict[str, Any] = {"row": positions}
            columns |= {name: part.table[name].tolist() for name in part.table.columns}
            columns |= {"image_sha256": digests.images, "region_sha256": digests.regions}
            grids = (part.maps, part.regions.valid, part.regions.counted)
            for name, grid in zip(_GRIDS, grids, strict=True):
                flat = pa.array(np.ascontiguousarray(grid, dtype=np.float32).ravel())
                columns[name] = pa.FixedSizeListArray.from_arrays(flat, int(np.prod(grid.shape[1:])))
            writer.write_table(pa.table(columns, schema=writer.schema))
            done += len(part.table)
            progress(done)


def _scored(prepared: Prepared, rows: np.ndarray) -> Iterator[tuple[np.ndarray, Pass, FileDigests]]:
    """Groups of rows: their positions, scores and maps, and the digests of their files."""
    model = prepared.model
    for group, local in staged(prepared.rows, rows, ROW_GROUP):
        with stage("fingerprint"):
            digests = file_digests(local)
        dataset = ImageDataset(local, model.preprocessing, model.classes)
        done = 0
        for part in _grouped(scored_batches(replace(prepared, rows=local, dataset=dataset)), ROW_GROUP):
            held = range(done, done + len(part.table))
            yield group[held.start : held.stop], part, digests.take(held)
            done = held.stop


def _grouped(parts: Iterator[Pass], least: int) -> Iterator[Pass]:
    held: list[Pass] = []
    for part in parts:
        held.append(part)
        if sum(len(each.table) for each in held) >= least:
            yield Pass.join(held)
            held = []
    if held:
        yield Pass.join(held)


def _schema(prepared: Prepared) -> pa.Schema:
    grid = pa.list_(pa.float32(), int(np.prod(prepared.settings.map_size)))
    columns = [("row", pa.int64())]
    columns += [(name, pa.string()) for name in (*_TEXTS, "image_sha256", "region_sha256")]
    columns += [(name, pa.float64()) for name in _NUMBERS] + [(name, grid) for name in _GRIDS]
    return pa.schema(columns)


def _merge(
    prepared: Prepared, finished: Sequence[Shard], report: Progress, terms: dict[str, Any] | None = None
) -> AuditResult:
    terms = _terms(prepared) if terms is None else terms
    shards = max((each.mark.shards for each in finished), default=1)
    numbers = [each.mark.shard for each in finished]
    if sorted(numbers) != list(range(shards)):
        missing = sorted(set(range(shards)) - set(numbers))
        raise InputError(
            f"an audit in {shards} shards needs each once; missing: {missing or 'none'}, given: "
            f"{sorted(numbers)}."
        )
    for each in finished:
        _check_terms(each, terms)
    positions, passes, digests = zip(*(each.read() for each in finished if each.mark.rows), strict=True)
    order = np.argsort(np.concatenate(positions), kind="stable")
    if not np.array_equal(np.concatenate(positions)[order], np.arange(len(prepared.rows))):
        raise InputError("the shards do not hold every audited row once; make them again.")
    joined = Pass.join(passes)
    found = Pass(
        joined.table.iloc[order].reset_index(drop=True), joined.maps[order], joined.regions.take(order)
    )
    files = FileDigests.join(digests).take(order)
    return finish(
        prepared,
        found,
        model_digest=terms["model_digest"],
        data_digest=data_digest(prepared.rows, files),
        report=report,
    )


def _terms(prepared: Prepared) -> dict[str, Any]:
    """What all shards of an audit have in common."""
    rows = prepared.rows
    digest = hashlib.sha256()
    for name in _IDENTITY:
        cells = [as_text(cell) for cell in rows[name]] if name in rows else []
        digest.update(json.dumps([name, cells]).encode())
    with stage("fingerprint"):
        model_digest = prepared.model.digest()
    return {
        "model_digest": model_digest,
        "manifest_digest": digest.hexdigest(),
        "settings": prepared.settings,
        "versions": {name: metadata.version(name) for name in LIBRARIES},
    }


def _check_terms(shard: Shard, terms: dict[str, Any]) -> None:
    for name, wanted in terms.items():
        held = getattr(shard.mark, name)
        if held != wanted:
            raise InputError(
                f"{shard.name} belongs to another audit: its {name} is {_short(held)}, here it is "
                f"{_short(wanted)}. Give a new folder, or remove the shard."
            )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 300 else text[:300] + "..."


def _check_number(shard: int, shards: int) -> None:
    if shards < 1 or not 0 <= shard < shards:
        raise InputError(f"`shard` is a number from 0 to `shards` - 1; got {shard} of {shards}.")


def _silent(stage: str, done: int, total: int) -> None:
    """Nobody listens."""
