"""Workers on an object store: a real HTTP server that speaks S3."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pytest
import torch
from moto.server import ThreadedMotoServer
from typer.testing import CliRunner, Result

from camgate.audit.result import AuditResult
from camgate.audit.runner import audit
from camgate.cli import app
from camgate.errors import InputError
from camgate.gate.judge import judge
from camgate.gate.policy import Policy
from camgate.models.classifier import Classifier
from camgate.scenes.dataset import write_scenes
from camgate.storage import check_new, local_folder, put_file
from sharded import same, small_net

POLICY = """
audit: {draws: 1, target_layer: model, min_images: 10}
sanity: {required: false}
checks: {accuracy: {min: 0.9}}
"""
SHARDS = 3


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """A file system, and the environment in which everybody finds it."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        # One that another test made before these settings would still be handed out.
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        files = fsspec.filesystem("s3", use_listings_cache=False)
        files.mkdir("bucket")
        yield files
    type(files).clear_instance_cache()
    server.stop()


@pytest.fixture(scope="module")
def case(s3: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    """A model and a policy in a folder, the data there and in the bucket."""
    root = tmp_path_factory.mktemp("s3")
    rows = write_scenes(root / "scenes", per_class=6, seed=5, size=64, coco=False)
    for path in [*rows["image"], *rows["region"].dropna()]:
        s3.pipe_file(f"bucket/data/{Path(path).relative_to(root)}", Path(path).read_bytes())
    there = rows.copy()
    for name in ("image", "region"):  # one by its whole address, the other relative to the manifest
        start = "s3://bucket/data/" if name == "image" else ""
        there[name] = [
            None if pd.isna(cell) else start + str(Path(cell).relative_to(root)) for cell in rows[name]
        ]
    s3.pipe_file("bucket/data/manifest.csv", there.to_csv(index=False).encode())
    torch.manual_seed(3)
    small_net().save(root / "model")
    (root / "policy.yaml").write_text(POLICY)
    return root, rows


def camgate(root: Path, *arguments: str) -> Result:
    policy = ("--policy", str(root / "policy.yaml"), "--json")
    return CliRunner().invoke(app, [*arguments, *policy])


def worker(root: Path, shard: int, out: str = "s3://bucket/audits/first") -> Result:
    data = ("--model", str(root / "model"), "--data", "s3://bucket/data/manifest.csv")
    split = ("--shards", str(SHARDS), "--shard", str(shard), "--parts", "s3://bucket/parts")
    return camgate(root, "audit", *data, *split, "--out", out)


def test_workers_go_on_after_a_failure_and_the_last_one_merges(
    s3: Any, case: tuple[Path, pd.DataFrame]
) -> None:
    root, rows = case
    net = Classifier.load(root / "model")
    terms = Policy.load(root / "policy.yaml")
    whole = audit(net, rows, **terms.audit_options())
    expected = judge(whole, terms)
    parts = f"bucket/parts/{net.digest()[:16]}"

    first = worker(root, 0)
    assert (first.exit_code, json.loads(first.stdout)["status"]) == (0, None)
    lost = _one_of_shard(1, rows)
    content = s3.cat_file(lost)
    s3.rm_file(lost)
    failed = worker(root, 1)
    assert isinstance(failed.exception, InputError)
    assert f"s3://{lost}" in str(failed.exception)
    assert worker(root, 2).exit_code == 0
    assert not s3.exists("bucket/audits/first")
    written = {path: s3.info(path)["ETag"] for path in s3.find(parts)}
    assert sorted(Path(path).name[:11] for path in written) == ["shard-00000"] * 2 + ["shard-00002"] * 2
    times = {path: s3.info(path)["LastModified"] for path in written}

    s3.pipe_file(lost, content)
    last = worker(root, 1)
    assert last.exit_code == expected.status.exit_code, last.output
    assert json.loads(last.stdout)["status"] == expected.status.value
    assert {path: s3.info(path)["LastModified"] for path in written} == times  # not made again
    with local_folder("s3://bucket/audits/first") as folder:
        merged = AuditResult.load(folder)
        assert (folder / "report.html").is_file()
    same(whole, merged)
    assert not s3.exists("bucket/audits/first/.unfinished")

    # A worker that was started once too often says the same, and changes nothing.
    before = {path: s3.info(path)["ETag"] for path in s3.find("bucket/audits/first")}
    assert worker(root, 0).exit_code == expected.status.exit_code
    assert {path: s3.info(path)["ETag"] for path in s3.find("bucket/audits/first")} == before
    judged = camgate(root, "gate", "--audit", "s3://bucket/audits/first")
    assert judged.exit_code == expected.status.exit_code
    # Another audit's folder is never taken for this one's, nor overwritten.
    document = json.loads(s3.cat_file("bucket/audits/first/audit.json"))
    s3.copy("bucket/audits/first", "bucket/audits/other", recursive=True)
    text = json.dumps({**document, "data_digest": "0" * 64})
    s3.pipe_file("bucket/audits/other/audit.json", text.encode())
    refused = worker(root, 0, out="s3://bucket/audits/other")
    assert isinstance(refused.exception, InputError)
    assert "not empty" in str(refused.exception)


def _one_of_shard(shard: int, rows: pd.DataFrame) -> str:
    from camgate.audit.shards import shard_of

    position = int(np.flatnonzero(shard_of(rows["image_id"].tolist(), SHARDS) == shard)[0])
    parts = Path(rows["image"].iloc[position]).parts
    return "/".join(("bucket", "data", *parts[parts.index("scenes") :]))


def test_an_upload_that_was_cut_off_is_begun_anew(s3: Any) -> None:
    address = "s3://bucket/evidence"

    def write(names: list[str]) -> None:
        with local_folder(address) as folder:
            folder.mkdir(parents=True, exist_ok=True)
            assert list(folder.iterdir()) == []
            for name in names:
                (folder / name).write_text(name)

    s3.pipe_file("bucket/evidence/.unfinished", b"")
    s3.pipe_file("bucket/evidence/half.txt", b"ha")
    check_new(address)
    write(["audit.json", "whole.txt"])
    assert sorted(s3.find("bucket/evidence")) == ["bucket/evidence/audit.json", "bucket/evidence/whole.txt"]
    with pytest.raises(InputError, match="not empty"):
        check_new(address)
    with local_folder(address) as folder:
        assert (folder / "whole.txt").read_text() == "whole.txt"
        (folder / "more.txt").write_text("more")
    assert s3.cat_file("bucket/evidence/more.txt") == b"more"
    assert not s3.exists("bucket/evidence/.unfinished")


def test_no_bucket_is_made(s3: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    with pytest.raises(InputError, match="s3://buket/file could not be written"):
        put_file(tmp_path / "file", "s3://buket/file")
    assert not s3.exists("buket")
