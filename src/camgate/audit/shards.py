"""An audit in shards: finished ones are not done again, and the whole is the same as without shards."""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from camgate.audit.finishing import LIBRARIES, finish
from camgate.audit.onepass import Pass, scored_batches
from camgate.audit.preparing import AuditOptions, Prepared, Progress, prepare
from camgate.audit.profile import stage
from camgate.audit.result import AuditResult
from camgate.audit.shard import (
    DamagedShard,
    Group,
    Shard,
    ShardMark,
    missing_shards,
    shard_name,
    shard_of,
    write_rows,
)
from camgate.data.cells import as_text
from camgate.data.dataset import ImageDataset
from camgate.data.digest import FileDigests, data_digest, file_digests
from camgate.data.staging import staged
from camgate.errors import InputError
from camgate.models.classifier import Classifier

__all__ = [
    "DamagedShard",
    "Shard",
    "ShardMark",
    "audit_in_shards",
    "keep_shard",
    "merge_shards",
    "missing_shards",
    "score_shard",
    "shard_name",
    "shard_of",
]

ROW_GROUP = 2048
"""Rows held before they are written, and remote files kept beside the process."""
_log = logging.getLogger(__name__)
_IDENTITY = ("image_id", "image", "label", "region", "split", "group", "zone", "crop", "region_rule")


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
        write_rows(
            file,
            prepared.settings.map_size,
            _scored(prepared, rows),
            lambda done: report(name, done, len(rows)),
        )
        content = file.read_bytes()
    return Shard(
        ShardMark(
            format=1,
            shard=shard,
            shards=shards,
            rows=len(rows),
            sha256=hashlib.sha256(content).hexdigest(),
            **terms,
        ),
        content,
    )


def _scored(prepared: Prepared, rows: np.ndarray) -> Iterator[Group]:
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
    held: list[tuple[slice, Pass]] = []
    rows = 0
    for part in parts:
        held.append((slice(rows, rows + len(part.table)), part))
        rows += len(part.table)
        if rows >= least:
            yield Pass.join(held, rows)
            held, rows = [], 0
    if held:
        yield Pass.join(held, rows)


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
    order = np.concatenate([each.rows() for each in finished])
    if not np.array_equal(np.sort(order), np.arange(len(prepared.rows))):
        raise InputError("the shards do not hold every audited row once; make them again.")
    digests = []

    def placed() -> Iterator[tuple[np.ndarray, Pass]]:
        for each in finished:
            if each.mark.rows:
                rows, scored, files = each.read()
                digests.append(files)
                yield rows, scored

    found = Pass.join(placed(), len(prepared.rows))
    pa.default_memory_pool().release_unused()
    files = FileDigests.join(digests).take(np.argsort(order))
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
