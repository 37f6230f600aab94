"""Folders, CSV and Parquet: what is read, and what is refused with which words."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_pictures import save_picture, save_region

from camgate.data.sources import load_data, load_folder, load_manifest
from camgate.data.zones import Zone, zones_from_json
from camgate.errors import InputError, ManifestError

Rows = Callable[..., pd.DataFrame]
TOP = Zone(polygon=[(0, 0), (1, 0), (1, 0.1), (0, 0.1)], valid=False)


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# --- folders ---------------------------------------------------------------------------------------


def test_folder_of_classes_with_masks(tmp_path: Path) -> None:
    for name in ("cat/1.jpg", "cat/deep/2.png", "dog/1.png"):
        save_picture(tmp_path / "images" / name)
    save_region(tmp_path / "masks" / "cat/1.png")
    save_region(tmp_path / "masks" / "cat/deep/2.png")
    (tmp_path / "images" / "cat" / ".DS_Store").write_text("x")
    (tmp_path / "images" / "cat" / "notes.txt").write_text("x")
    result = load_folder(tmp_path / "images", masks=tmp_path / "masks")
    assert result["image_id"].tolist() == ["cat/1", "cat/deep/2", "dog/1"]
    assert result["label"].tolist() == ["cat", "cat", "dog"]
    masks = tmp_path / "masks"
    assert result["region"].tolist() == [str(masks / "cat/1.png"), str(masks / "cat/deep/2.png"), None]
    assert "split" not in result


def test_folder_of_splits(tmp_path: Path) -> None:
    for name in ("train/cat/1.png", "train/dog/1.png", "val/cat/2.png", "test/dog/3.png"):
        save_picture(tmp_path / "images" / name)
        save_region(tmp_path / "masks" / name)
    result = load_folder(tmp_path / "images", tmp_path / "masks", zone=TOP)
    assert sorted(zip(result["split"], result["label"], strict=True)) == [
        ("test", "dog"),
        ("train", "cat"),
        ("train", "dog"),
        ("val", "cat"),
    ]
    assert result["image_id"].tolist() == ["test/dog/3", "train/cat/1", "train/dog/1", "val/cat/2"]
    assert [zones_from_json(text) for text in result["zone"]] == [(TOP,)] * 4


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    for name in ("train/1.png", "test/1.png"):  # images directly below: these are classes
        save_picture(tmp_path / name)
    result = load_folder(tmp_path)
    assert result["label"].tolist() == ["test", "train"]
    assert "split" not in result
    save_picture(tmp_path / "bus" / "1.png")
    assert load_folder(tmp_path)["label"].tolist() == ["bus", "test", "train"]


def test_masks_without_image_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_picture(tmp_path / "images" / "cat" / "1.png")
    save_region(tmp_path / "masks" / "cat" / "1.png")
    save_region(tmp_path / "masks" / "cat" / "2.png")
    with caplog.at_level(logging.WARNING):
        load_folder(tmp_path / "images", tmp_path / "masks")
    assert "1 mask(s) belong to no image" in caplog.text


def test_folder_faults(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone: no such folder"):
        load_folder(tmp_path / "gone")
    with pytest.raises(InputError, match="no sub-folders"):
        load_folder(tmp_path)
    with pytest.raises(InputError, match="is a file"):
        load_folder(write(tmp_path / "f.txt", "x"))
    save_picture(tmp_path / "images" / "cat" / "1.png")
    (tmp_path / "images" / "dog").mkdir()
    save_picture(tmp_path / "images" / "stray.png")
    with pytest.raises(ManifestError) as caught:
        load_folder(tmp_path / "images")
    assert caught.value.faults == [
        "class 'dog' has no image",
        "stray.png: lies beside the class folders; move it into one of them",
    ]


def test_masks_that_match_nothing(tmp_path: Path) -> None:
    save_picture(tmp_path / "images" / "cat" / "1.jpg")
    save_region(tmp_path / "masks" / "cat" / "1_mask.png")
    with pytest.raises(InputError, match=r"no mask matches.*cat/1\.jpg would be cat/1\.png"):
        load_folder(tmp_path / "images", tmp_path / "masks")
    with pytest.raises(InputError, match=r"no such folder \(`masks`\)"):
        load_folder(tmp_path / "images", tmp_path / "maskes")


# --- manifest files --------------------------------------------------------------------------------


def test_csv_and_parquet_read_alike(make_rows: Rows, tmp_path: Path) -> None:
    rows = make_rows(4, split=["train", "test", "", None], group=[1, 2, 2, 10])
    rows["label"] = [0, 1, 10, 0]
    rows.loc[2, "region"] = None
    rows.to_csv(tmp_path / "m.csv", index=False)
    rows.to_parquet(tmp_path / "m.parquet")
    one, other = load_manifest(tmp_path / "m.csv"), load_manifest(tmp_path / "m.parquet")
    pd.testing.assert_frame_equal(one, other)
    assert one["label"].tolist() == ["0", "1", "10", "0"]
    assert one["group"].tolist() == ["1", "2", "2", "10"]
    assert one["split"].tolist() == ["train", "test", "", ""]
    assert one["region"].tolist()[2] is None


def test_integers_with_a_gap_stay_integers_in_parquet(make_rows: Rows, tmp_path: Path) -> None:
    rows = make_rows(3, masks=False)
    table = pa.table({"image": list(rows["image"]), "label": [4, 5, 4], "group": [1, None, 3]})
    pq.write_table(table, tmp_path / "m.parquet")  # without pandas' notes on types
    result = load_manifest(tmp_path / "m.parquet")
    assert result["label"].tolist() == ["4", "5", "4"]
    assert result["group"].tolist() == ["1", "", "3"]


def test_words_for_nothing_are_labels(make_rows: Rows, tmp_path: Path) -> None:
    words = ["NA", "null", "nan", "None", "N/A", "007", "1e3", "True"]
    rows = make_rows(len(words), masks=False)
    rows["label"] = words
    rows.to_csv(tmp_path / "m.csv", index=False)
    rows.to_parquet(tmp_path / "m.parquet")
    assert load_manifest(tmp_path / "m.csv")["label"].tolist() == words
    assert load_manifest(tmp_path / "m.parquet")["label"].tolist() == words


def test_csv_as_people_write_it(make_rows: Rows, tmp_path: Path) -> None:
    make_rows(3)
    text = (
        "\ufeffimage, label ,region,note\r\n"
        '"images/0.png", cat,masks/0.png,"a, b\r\nsecond line"\r\n'
        "\r\n"
        "images/1.png,dög,,\r\n"
        ",,,\r\n"
        "images/2.png,cat,,x\r\n"
    )
    result = load_manifest(write(tmp_path / "m.csv", text))
    assert result["label"].tolist() == ["cat", "dög", "cat"]
    assert result["note"].tolist() == ["a, b\r\nsecond line", "", "x"]
    text = text.replace("images/2.png", "images/9.png").replace("images/1.png,dög", "images/1.png,")
    with pytest.raises(ManifestError) as caught:
        load_manifest(write(tmp_path / "m.csv", text))
    found = caught.value.faults
    assert found[0] == "row 5, column label: empty"  # as a text editor counts
    assert found[1].startswith("row 7, column image: ")


def test_an_index_column_without_name_is_left_out(make_rows: Rows, tmp_path: Path) -> None:
    make_rows(2).to_csv(tmp_path / "m.csv")
    assert list(load_manifest(tmp_path / "m.csv").columns) == ["image", "label", "region", "image_id"]


def test_a_named_index_of_parquet_is_a_column(make_rows: Rows, tmp_path: Path) -> None:
    make_rows(2, image_id=["x", "y"]).set_index("image_id").to_parquet(tmp_path / "m.parquet")
    assert load_manifest(tmp_path / "m.parquet")["image_id"].tolist() == ["x", "y"]


def test_folders_that_look_like_partitions_add_no_columns(make_rows: Rows, tmp_path: Path) -> None:
    rows = make_rows(2)
    rows["image"] = [str(tmp_path / path) for path in rows["image"]]
    rows["region"] = None
    (tmp_path / "split=train").mkdir()
    rows.to_parquet(tmp_path / "split=train" / "m.parquet")
    assert "split" not in load_manifest(tmp_path / "split=train" / "m.parquet")


def test_zone_is_added_to_zones_in_the_file(make_rows: Rows, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    save_region(tmp_path / "sub" / "zone.png")
    rows = make_rows(2, zone=['{"mask": "zone.png"}', ""])
    for column in ("image", "region"):
        rows[column] = "../" + rows[column]
    rows.to_csv(tmp_path / "sub" / "m.csv", index=False)
    first, second = load_manifest(tmp_path / "sub" / "m.csv", zone=TOP)["zone"]
    assert zones_from_json(first) == (Zone(mask=tmp_path / "sub" / "zone.png"), TOP)
    assert zones_from_json(second) == (TOP,)


def test_faults_of_the_file_come_together_when_a_zone_is_given(make_rows: Rows, tmp_path: Path) -> None:
    rows = make_rows(2, zone=["nonsense", ""])
    rows.loc[1, "label"] = None
    rows.to_csv(tmp_path / "m.csv", index=False)
    with pytest.raises(ManifestError) as caught:
        load_manifest(tmp_path / "m.csv", zone=TOP)
    assert [fault.split(":")[0] for fault in caught.value.faults] == [
        "row 2, column zone",
        "row 3, column label",
    ]


def test_faults_of_the_zone_and_of_the_file_come_together(make_rows: Rows, tmp_path: Path) -> None:
    rows = make_rows(2)
    rows.loc[1, "image"] = "gone.png"
    rows.to_csv(tmp_path / "m.csv", index=False)
    save_region(tmp_path / "zone.png", size=(2, 2))
    with pytest.raises(ManifestError) as caught:
        load_manifest(tmp_path / "m.csv", zone=Zone(mask=tmp_path / "zone.png"))
    assert [fault.split(":")[0] for fault in caught.value.faults] == [
        "row 2, column zone",
        "row 3, column image",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"m\.csv.*\n.*the file is empty"),
        (b"\n\n", r"the file is empty"),
        (b"image,label\n", r"no rows"),
        (
            "image,label\nä.png,cat\n".encode("latin-1"),
            r"m\.csv: not a UTF-8 text file \(byte 0xe4 in line 2\)",
        ),
        ("image,label\na.png,cat\n".encode("utf-16"), r"not a UTF-8 text file \(byte 0xff in line 1\)"),
        ("image,label\na.png,cat\n".encode("utf-16-le"), r"NUL bytes"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", r"m\.csv: not a UTF-8 text file"),
        (b"image;label\na.png;cat\n", r"separated by semicolons"),
        (b"image\tlabel\na.png\tcat\n", r"separated by tabs"),
        (b'{"image": "a.png"}', r"column image: missing"),
        (b'image,label\n"a.png,cat\n', r"m\.csv: not a CSV file \(unexpected end of data"),
        (b"image,label\na.png\nb.png,cat,3\n", r"(?s)row 2: 1 cells, but the header has 2.*row 3: 3 cells"),
        (b"image,label,label\na.png,cat,cat\n", r"column label: occurs 2 times"),
        (b"picture,label\na.png,cat\n", r"column image: missing; the columns are picture, label"),
        (b"image,lable\na.png,cat\n", r"did you mean 'lable'"),
    ],
)
def test_csv_that_cannot_be_used(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_manifest(write(tmp_path / "m.csv", content))


def test_broken_parquet(make_rows: Rows, tmp_path: Path) -> None:
    make_rows(3).to_parquet(tmp_path / "m.parquet")
    whole = (tmp_path / "m.parquet").read_bytes()
    for content in (b"", b"image,label\n", whole[: len(whole) // 2], whole[:-20]):
        with pytest.raises(InputError, match=r"m\.parquet: not a Parquet file, or a damaged one"):
            load_manifest(write(tmp_path / "m.parquet", content))


def test_manifest_paths_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.csv: no such manifest"):
        load_manifest(tmp_path / "gone.csv")
    with pytest.raises(InputError, match=r"a \.csv or a \.parquet file, not \.xlsx"):
        load_manifest(tmp_path / "m.xlsx")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match="cannot be read"):
        load_manifest(tmp_path / "folder.csv")


# --- whatever is there -----------------------------------------------------------------------------


def test_load_data_knows_the_layouts(make_rows: Rows, tmp_path: Path) -> None:
    for name in ("cat/1.png", "dog/1.png"):
        save_picture(tmp_path / "plain" / name)
        save_picture(tmp_path / "pair" / "images" / name)
        save_region(tmp_path / "pair" / "masks" / name)
        save_picture(tmp_path / "single" / "images" / name)
    assert load_data(tmp_path / "plain")["region"].tolist() == [None, None]
    assert load_data(tmp_path / "pair")["region"].notna().all()
    assert load_data(tmp_path / "single")["label"].tolist() == ["cat", "dog"]
    make_rows(3).to_csv(tmp_path / "manifest.csv", index=False)
    assert len(load_data(tmp_path)) == 3
    assert len(load_data(tmp_path / "manifest.csv")) == 3
    make_rows(3).to_parquet(tmp_path / "manifest.parquet")
    assert len(load_data(tmp_path / "manifest.parquet")) == 3
    with pytest.raises(InputError, match="name the one to use"):
        load_data(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no data found"):
        load_data(tmp_path / "empty")
    with pytest.raises(InputError, match="gone"):
        load_data(tmp_path / "gone")


@pytest.mark.photos
def test_photographs_load(photos_root: Path) -> None:
    manifest = load_data(photos_root / "walkway")
    assert manifest.groupby(["split", "label"]).size().to_dict() == {
        ("test", "empty"): 140,
        ("test", "pedestrian"): 140,
        ("train", "empty"): 420,
        ("train", "pedestrian"): 420,
    }
