"""Shards: complete or absent, done once, and together the same audit."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import random
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pytest
import torch

import camgate
import shard_worker
from camgate.audit.onepass import Pass
from camgate.audit.result import AuditResult
from camgate.audit.runner import audit
from camgate.audit.shards import (
    DamagedShard,
    Shard,
    audit_in_shards,
    merge_shards,
    score_shard,
    shard_name,
    shard_of,
)
from camgate.audit.summary import summarise
from camgate.data.manifest import validate_manifest
from camgate.errors import InputError
from camgate.models.classifier import Classifier
from camgate.scenes.dataset import write_scenes
from forked import PRELOAD
from sharded import CHEAP, same, small_net


@pytest.fixture(scope="module")
def net() -> Classifier:
    torch.manual_seed(3)
    return small_net()


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return write_scenes(tmp_path_factory.mktemp("data") / "scenes", per_class=20, seed=5, size=64, coco=False)


@pytest.mark.parametrize("shards", [1, 3, 80])
def test_merged_shards_are_the_audit(
    net: Classifier, rows: pd.DataFrame, tmp_path: Path, shards: int
) -> None:
    options = {**CHEAP, "sanity": shards == 3}
    whole = audit(net, rows, **options)
    merged = audit_in_shards(net, rows, shards=shards, folder=tmp_path / "parts", **options)
    same(whole, merged)
    assert whole.sanity == merged.sanity
    # The same rows give the same estimates, whatever way they came.
    taken = {"scores": whole.scores, "interventions": whole.interventions, "baselines": whole.baselines}
    rebuilt = AuditResult(**{**merged.__dict__, **taken})
    mine, theirs = summarise(rebuilt), summarise(whole)
    assert mine.keys() == theirs.keys()
    for name, value in theirs.items():
        known = pytest.approx(value, abs=1e-9, nan_ok=True) if isinstance(value, float) else value
        assert mine[name] == known, name


def test_an_unreadable_image_is_a_row_like_any_other(
    net: Classifier, rows: pd.DataFrame, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(Path(rows["image"].iloc[5]).read_bytes()[:200])
    faulty = rows.assign(image=[str(broken), *rows["image"].iloc[1:]])
    whole = audit(net, faulty, interventions=False, **CHEAP)
    assert whole.scores["status"].iloc[0] == "unreadable"
    for shards in (1, 3):
        options = {"interventions": False, **CHEAP}
        merged = audit_in_shards(net, faulty, shards=shards, folder=tmp_path / str(shards), **options)
        same(whole, merged)
        assert whole.scores.dtypes.equals(merged.scores.dtypes)


def test_rows_that_are_missing_are_not_made_up(net: Classifier, rows: pd.DataFrame) -> None:
    _, part, _ = score_shard(net, rows, shard=0, shards=2, **CHEAP).read()
    with pytest.raises(ValueError, match=f"1 of {len(part.table) + 1} rows are missing"):
        Pass.join([(slice(0, len(part.table)), part)], len(part.table) + 1)


def test_a_shard_of_an_image_does_not_depend_on_other_images() -> None:
    names = [f"img/{number}" for number in range(4000)]
    found = shard_of(names, 8)
    np.testing.assert_array_equal(shard_of(names[::-1], 8)[::-1], found)
    np.testing.assert_array_equal(shard_of(names[:100], 8), found[:100])
    assert np.bincount(found, minlength=8).min() > 400
    assert shard_of(["img/0"], 2**20).tolist() == [
        int(hashlib.sha256(b"img/0").hexdigest()[:16], 16) % 2**20  # the same in every version of camgate
    ]


def test_finished_shards_are_not_done_again(net: Classifier, rows: pd.DataFrame, tmp_path: Path) -> None:
    stages: list[str] = []
    kept = {"shards": 4, "folder": tmp_path, **CHEAP}
    first = audit_in_shards(net, rows, **kept)
    Path(tmp_path, f"{shard_name(2, 4)}.json").unlink()
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.json")}
    second = audit_in_shards(net, rows, progress=lambda stage, done, total: stages.append(stage), **kept)
    assert {stage for stage in stages if stage.startswith("shard-")} == {shard_name(2, 4)}
    for name, changed in before.items():
        assert Path(tmp_path, name).stat().st_mtime_ns == changed
    same(first, second)


def test_shards_of_another_audit_are_refused(net: Classifier, rows: pd.DataFrame, tmp_path: Path) -> None:
    made = [score_shard(net, rows, shard=number, shards=2, **CHEAP) for number in range(2)]
    with pytest.raises(InputError, match=r"needs each once; missing: \[1\]"):
        merge_shards(net, rows, made[:1], **CHEAP)
    with pytest.raises(InputError, match="given: \\[0, 0\\]"):
        merge_shards(net, rows, [made[0], made[0]], **CHEAP)
    with pytest.raises(InputError, match="another audit: its settings"):
        merge_shards(net, rows, made, **CHEAP, tolerance=2)
    with pytest.raises(InputError, match="another audit: its manifest_digest"):
        merge_shards(net, rows.iloc[1:], made, **CHEAP)
    other = small_net()
    with pytest.raises(InputError, match="another audit: its model_digest"):
        merge_shards(other, rows, made, **CHEAP)
    with pytest.raises(InputError, match="got 2 of 2"):
        score_shard(net, rows, shard=2, shards=2)


def test_a_damaged_shard_is_made_again(net: Classifier, rows: pd.DataFrame, tmp_path: Path) -> None:
    first = audit_in_shards(net, rows, shards=3, folder=tmp_path, **CHEAP)
    table, mark = (tmp_path / f"{shard_name(1, 3)}{suffix}" for suffix in (".parquet", ".json"))
    content = table.read_bytes()
    stages: set[str] = set()
    for damage in (lambda: table.write_bytes(content[:-1] + b"?"), lambda: mark.write_bytes(b'{"format": 1')):
        damage()
        with pytest.raises(DamagedShard):
            Shard.load(tmp_path, 1, 3)
        stages.clear()
        again = audit_in_shards(
            net, rows, shards=3, folder=tmp_path, progress=lambda stage, *_: stages.add(stage), **CHEAP
        )
        assert {stage for stage in stages if stage.startswith("shard-")} == {shard_name(1, 3)}
        assert Shard.load(tmp_path, 1, 3).mark.shard == 1
        same(first, again)


def test_files_that_are_no_such_shard_are_refused(
    net: Classifier, rows: pd.DataFrame, tmp_path: Path
) -> None:
    made = score_shard(net, rows, shard=0, shards=2, **CHEAP)
    made.save(tmp_path)
    for suffix in (".parquet", ".json"):
        shutil.copy(tmp_path / f"{shard_name(0, 2)}{suffix}", tmp_path / f"{shard_name(1, 2)}{suffix}")
    with pytest.raises(InputError, match="holds shard 0 of 2"):
        audit_in_shards(net, rows, shards=2, folder=tmp_path, **CHEAP)
    mark = tmp_path / f"{shard_name(0, 2)}.json"
    for text in ({"format": 1}, {**made.mark.model_dump(mode="json"), "format": 2}):
        mark.write_text(json.dumps(text))
        with pytest.raises(InputError, match="not a shard that this version"):
            audit_in_shards(net, rows, shards=2, folder=tmp_path, **CHEAP)


def test_shards_in_a_store_by_url(net: Classifier, rows: pd.DataFrame) -> None:
    memory = fsspec.filesystem("memory")
    for path in [*rows["image"], *rows["region"].dropna()]:
        memory.pipe_file(f"/bucket{path}", Path(path).read_bytes())
    remote = rows.assign(
        image="memory://bucket" + rows["image"],
        region=["memory://bucket" + cell for cell in rows["region"]],
    )
    memory.pipe_file("/bucket/data.csv", remote.to_csv(index=False).encode())
    manifest = camgate.load_manifest("memory://bucket/data.csv")
    merged = audit_in_shards(net, manifest, shards=2, folder="memory://bucket/parts", **CHEAP)
    assert len(memory.ls("/bucket/parts")) == 4
    same(merged, audit(net, rows, **CHEAP))
    again = validate_manifest(manifest.drop(columns="image_id"))
    assert again["image_id"].tolist() == validate_manifest(rows.drop(columns="image_id"))["image_id"].tolist()


@dataclass(frozen=True)
class Attempts:
    """One audit in shards, begun again after each kill."""

    model: str
    manifest: str
    folder: str
    shards: int = 12

    def start(self) -> Any:
        """A process that audits into the folder."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOAD)
        Path(self.folder).mkdir(parents=True, exist_ok=True)
        process = context.Process(
            target=shard_worker.run,
            args=(self.model, self.manifest, self.folder, self.log, self.shards, CHEAP),
        )
        process.start()
        return process

    @property
    def log(self) -> str:
        return f"{self.folder}.log"

    def begun(self) -> list[str]:
        """The shards that were begun, by all processes."""
        return Path(self.log).read_text().split() if Path(self.log).exists() else []

    def finished(self) -> dict[str, bytes]:
        """The marks of shards that are complete; an error where one is not."""
        found = {path.name: path.read_bytes() for path in Path(self.folder).glob("shard-*.json")}
        for name in found:
            Shard.load(self.folder, int(name.split("-")[1]), self.shards)
        return found

    def audit(self) -> AuditResult | None:
        """Complete, an error, or absent."""
        made = Path(self.folder, "audit")
        return AuditResult.load(made) if made.exists() else None


def kills(net: Classifier, rows: pd.DataFrame, tmp_path: Path, count: int) -> None:
    """Kill `count` processes that audit, half of them at any moment, half while they make a shard."""
    model, manifest = str(tmp_path / "model"), str(tmp_path / "rows.parquet")
    net.save(model)
    rows.groupby("label").head(10).to_parquet(manifest)
    whole = Attempts(model, manifest, str(tmp_path / "whole"))
    for _ in range(2):  # the first one imports what all others find in the fork server
        shutil.rmtree(whole.folder, ignore_errors=True)
        begin = time.monotonic()
        process = whole.start()
        process.join(300)
        longest = time.monotonic() - begin
        assert process.exitcode == 0
    reference = whole.audit()
    assert reference is not None
    chance = random.Random(7)
    killed = lost = audits = 0
    while killed < count:
        audits += 1
        attempts = Attempts(model, manifest, str(tmp_path / f"parts{audits}"))
        code = None
        while code != 0:
            begun, finished = attempts.begun(), attempts.finished()
            process = attempts.start()
            if killed == count:
                process.join(300)
            elif killed % 2:  # at any moment
                process.join(chance.uniform(0, longest))
            else:  # in one of the next shards
                wanted = len(begun) + chance.randint(1, 4)
                while process.is_alive() and len(attempts.begun()) < wanted:
                    time.sleep(0.002)
                process.join(chance.uniform(0, 0.03))
            process.kill()
            process.join()
            code = process.exitcode  # 0 where the process was quicker
            assert code in (0, -signal.SIGKILL)
            killed += code != 0
            now = attempts.finished()
            assert finished.items() <= now.items()  # nothing finished is lost or changed
            more = attempts.begun()[len(begun) :]
            redone = len(more) - (len(now) - len(finished))
            assert 0 <= redone <= (code != 0)  # a kill costs one shard at most
            assert not {f"{name}.json" for name in more} & finished.keys()
            lost += redone
            attempts.audit()
        result = attempts.audit()
        assert result is not None
        same(reference, result)
        assert len(attempts.finished()) == attempts.shards
    assert lost > 0  # else nothing was killed in the middle of one


def test_a_kill_costs_one_shard_at_most(net: Classifier, rows: pd.DataFrame, tmp_path: Path) -> None:
    kills(net, rows, tmp_path, 10)


@pytest.mark.long
def test_fifty_kills(net: Classifier, rows: pd.DataFrame, tmp_path: Path) -> None:
    kills(net, rows, tmp_path, 50)
