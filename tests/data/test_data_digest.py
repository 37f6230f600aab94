"""The data's digest: what changes it and what does not."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from data_pictures import save_picture, save_region

from camgate.data.images import UnreadableImage
from camgate.data.manifest import data_digest, validate_manifest
from camgate.data.zones import Zone, apply_zone

Rows = Callable[..., pd.DataFrame]


def sha(path: str | None) -> str:
    return "" if path is None else hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_against_the_definition(make_rows: Rows, tmp_path: Path) -> None:
    rows = make_rows(3, split=["train", "test", ""], group=["g", "g", "h"])
    rows.loc[1, "region"] = None
    manifest = validate_manifest(rows, root=tmp_path)
    lines = sorted(
        json.dumps([r.image_id, r.label, r.group, r.split, sha(r.image), sha(r.region), []])
        for r in manifest.itertuples()
    )
    assert data_digest(manifest) == hashlib.sha256("\n".join(lines).encode()).hexdigest()


def test_neither_place_nor_order_nor_further_columns_matter(make_rows: Rows, tmp_path: Path) -> None:
    rows = make_rows(4, split="test")
    save_region(tmp_path / "zone.png")
    rows["zone"] = '{"mask": "zone.png"}'
    here = data_digest(validate_manifest(rows, root=tmp_path))
    shutil.copytree(tmp_path, tmp_path.parent / "moved")
    moved = validate_manifest(rows[::-1].assign(note="x"), root=tmp_path.parent / "moved")
    assert data_digest(moved) == here
    moved.to_parquet(tmp_path / "m.parquet")
    assert data_digest(pd.read_parquet(tmp_path / "m.parquet")) == here
    shutil.rmtree(tmp_path.parent / "moved")


def test_every_part_matters(make_rows: Rows, tmp_path: Path) -> None:
    rows = make_rows(3, split="test", group="g")
    digests = [data_digest(validate_manifest(rows, root=tmp_path))]
    for column, value in (("label", "bird"), ("split", "train"), ("group", "h"), ("image_id", "i")):
        changed = rows.copy()
        changed["image_id"] = [f"images/{n}" for n in range(3)]
        changed.loc[0, column] = value
        digests.append(data_digest(validate_manifest(changed, root=tmp_path)))
    manifest = validate_manifest(rows, root=tmp_path)
    digests.append(data_digest(manifest[:2]))
    save_region(tmp_path / "zone.png")
    polygon = [(0, 0), (1, 0), (1, 1)]
    for zone in (Zone(polygon=polygon), Zone(polygon=polygon, valid=False), Zone(mask=tmp_path / "zone.png")):
        digests.append(data_digest(apply_zone(manifest, zone)))  # noqa: PERF401
    zoned = apply_zone(manifest, Zone(mask=tmp_path / "zone.png"))
    save_region(tmp_path / "zone.png", size=(2, 2))
    digests.append(data_digest(zoned))
    save_picture(tmp_path / "images" / "0.png", seed=99)
    digests.append(data_digest(manifest))
    save_region(tmp_path / "masks" / "0.png", size=(3, 3))
    digests.append(data_digest(manifest))
    assert len(set(digests)) == len(digests)


def test_a_file_that_vanished_is_named(make_rows: Rows, tmp_path: Path) -> None:
    manifest = validate_manifest(make_rows(2), root=tmp_path)
    (tmp_path / "images" / "1.png").unlink()
    with pytest.raises(UnreadableImage, match=r"images/1\.png"):
        data_digest(manifest)
