"""Windows of an image: in the manifest, in the data set, in the digest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from camgate.data.crops import Crop, read_crop
from camgate.data.dataset import ImageDataset, collate
from camgate.data.digest import data_digest
from camgate.data.images import read_image
from camgate.data.manifest import validate_manifest
from camgate.data.preprocessing import Preprocessing
from camgate.data.rle import region_cell
from camgate.data.sources import load_manifest
from camgate.errors import ManifestError

Rows = Callable[..., pd.DataFrame]


def windows(rows: pd.DataFrame) -> pd.DataFrame:
    """Three rows: two windows of one image, and another image as a whole."""
    rows = rows.iloc[[0, 0, 1]].reset_index(drop=True)
    rows["crop"] = ["0,0,8,12", " 8, 0, 16, 12 ", None]
    return rows


def test_windows_of_one_image_are_rows_of_their_own(make_rows: Rows, tmp_path: Path) -> None:
    manifest = validate_manifest(windows(make_rows(2)), root=tmp_path)
    assert manifest["image_id"].tolist() == ["images/0#0,0,8,12", "images/0#8,0,16,12", "images/1"]
    assert manifest["crop"].tolist() == ["0,0,8,12", "8,0,16,12", None]
    pd.testing.assert_frame_equal(validate_manifest(manifest, root=tmp_path), manifest)


def test_data_set_cuts_image_and_region_together(make_rows: Rows, tmp_path: Path) -> None:
    manifest = validate_manifest(windows(make_rows(2)), root=tmp_path)
    data = ImageDataset(manifest, Preprocessing(size=(12, 8)), ["cat", "dog"])
    whole = read_image(tmp_path / "images" / "0.png")
    for row, left in ((0, 0), (1, 8)):
        image = np.asarray(data[row].image).transpose(1, 2, 0)
        np.testing.assert_array_equal(image, whole[:, left : left + 8])
    region = np.zeros((12, 16), dtype=bool)
    region[2:8, 4:10] = True
    np.testing.assert_array_equal(np.asarray(data[0].region), region[:, :8])
    np.testing.assert_array_equal(np.asarray(data[1].region), region[:, 8:])


def test_void_pixels_are_cut_too(make_rows: Rows, tmp_path: Path) -> None:
    rows = windows(make_rows(2, masks=False))
    valid, void = np.zeros((2, 12, 16), dtype=bool)
    valid[4:8, 4:8], void[:, 6:10] = True, True
    rows["region"] = [region_cell(valid, void), region_cell(valid, void), region_cell(valid)]
    manifest = validate_manifest(rows, root=tmp_path)
    data = ImageDataset(manifest, Preprocessing(size=(12, 8)), ["cat", "dog"])
    assert data[0].void is not None
    assert data[1].void is not None
    assert data[2].void is None
    np.testing.assert_array_equal(np.asarray(data[0].void), void[:, :8])
    np.testing.assert_array_equal(np.asarray(data[1].void), void[:, 8:])
    assert not data[1].has_region
    batch = collate([data[row] for row in range(3)])
    assert batch.voids is not None
    assert not batch.voids[2].any()
    assert collate([data[2]]).voids is None


@pytest.mark.parametrize("text", ["", None, float("nan")])
def test_blank(text: object) -> None:
    assert read_crop(text) is None


@pytest.mark.parametrize("text", ["1,2,3", "a,b,c,d", "1.5,0,3,4", "0,0,0,4", "-1,0,4,4", "5,0,4,4"])
def test_no_window(text: str) -> None:
    with pytest.raises(ValueError, match="window"):
        read_crop(text)


def test_faults_name_row_and_column(make_rows: Rows, tmp_path: Path) -> None:
    rows = make_rows(4)
    rows["image"] = ["images/0.png", "images/0.png", "images/1.png", "images/2.png"]
    rows["crop"] = ["0,0,4,4", "0,0,4,4", "0,0,17,4", "x"]
    rows["region"] = [None, None, None, region_cell(np.ones((5, 5), dtype=bool))]
    with pytest.raises(ManifestError) as caught:
        validate_manifest(rows, root=tmp_path)
    faults = caught.value.faults
    assert len(faults) == 4
    assert "row 2, column image" in faults[0]
    assert "is in row 1 already" in faults[0]
    assert "row 3, column crop" in faults[1]
    assert "outside the image of 16x12 pixels" in faults[1]
    assert "row 4, column crop" in faults[2] + faults[3]
    assert "the encoded region is 5x5 pixels" in faults[2] + faults[3]


def test_broken_encoded_region_is_a_fault(make_rows: Rows, tmp_path: Path) -> None:
    rows = make_rows(2)
    rows["region"] = ['{"size": [12, 16]}', "{broken"]
    with pytest.raises(ManifestError) as caught:
        validate_manifest(rows, root=tmp_path)
    assert [fault[:21] for fault in caught.value.faults] == ["row 1, column region:", "row 2, column region:"]


def test_digest_follows_window_region_and_rule(make_rows: Rows, tmp_path: Path) -> None:
    rows = windows(make_rows(2))
    first = validate_manifest(rows, root=tmp_path)
    digests = {data_digest(first)}
    for column, cells in (
        ("crop", ["0,0,8,11", "8,0,16,12", None]),
        ("region", [region_cell(np.ones((12, 16), dtype=bool))] * 3),
        ("region_rule", ['{"grow": 0.1}'] * 3),
    ):
        changed = first.copy()
        changed[column] = cells
        digests.add(data_digest(validate_manifest(changed, root=tmp_path)))
    assert len(digests) == 4
    assert data_digest(first[::-1]) == data_digest(first)


def test_a_window_that_reaches_beyond_the_image_is_a_faulty_sample(make_rows: Rows, tmp_path: Path) -> None:
    rows = windows(make_rows(2))
    rows["crop"] = ["0,0,4,4", "4,0,90,4", None]
    manifest = validate_manifest(rows, root=tmp_path, check_files=False)
    sample = ImageDataset(manifest, Preprocessing(size=(12, 8)), ["cat", "dog"])[1]
    assert sample.fault is not None
    assert "0.png: the window 4,0,90,4 lies outside" in sample.fault
    assert str(Crop(1, 2, 3, 4)) == "1,2,3,4"


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_windows_regions_and_rules_survive_a_file(make_rows: Rows, tmp_path: Path, suffix: str) -> None:
    rows = windows(make_rows(2, masks=False))
    pixels = np.random.default_rng(0).random((2, 12, 16)) < 0.4
    rows["region"] = [region_cell(*pixels), region_cell(pixels[0]), None]
    rows["region_rule"] = '{"combine": "either", "grow": 0.01}'
    manifest = validate_manifest(rows, root=tmp_path)
    file = tmp_path / f"manifest.{suffix}"
    manifest.to_csv(file, index=False) if suffix == "csv" else manifest.to_parquet(file)
    again = load_manifest(file)
    assert data_digest(again) == data_digest(manifest)
    pd.testing.assert_frame_equal(again[sorted(again)], manifest[sorted(manifest)])
