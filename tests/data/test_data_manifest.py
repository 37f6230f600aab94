"""The manifest as a whole: canonical form, and all faults at once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from data_pictures import SIZE, save_picture, save_region
from PIL import Image

from camgate.data.manifest import manifest_classes, validate_manifest
from camgate.data.zones import Zone, apply_zone
from camgate.errors import ManifestError

Rows = Callable[..., pd.DataFrame]


def faults(frame: pd.DataFrame, **options: object) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        validate_manifest(frame, **options)  # type: ignore[arg-type]
    return caught.value.faults


def test_canonical_form(make_rows: Rows, tmp_path: Path) -> None:
    rows = make_rows(3, night=[True, False, True])
    rows.index = [5, 5, 5]
    rows.loc[:, "region"] = ["masks/0.png", None, ""]
    before = rows.copy()
    result = validate_manifest(rows, root=tmp_path)
    pd.testing.assert_frame_equal(rows, before)
    assert result.index.tolist() == [0, 1, 2]
    assert result["image"].tolist() == [str(tmp_path / "images" / f"{n}.png") for n in range(3)]
    assert result["region"].tolist() == [str(tmp_path / "masks" / "0.png"), None, None]
    assert result["image_id"].tolist() == ["images/0", "images/1", "images/2"]
    assert result["label"].tolist() == ["cat", "dog", "cat"]
    assert result["night"].tolist() == [True, False, True]


def test_validating_again_changes_nothing(
    make_rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = apply_zone(
        make_rows(3, split=["train", "", "test"], group=["a", None, "b"]), Zone(mask="zone.png")
    )
    save_region(tmp_path / "zone.png")
    rows["zone"] = '{"mask": "zone.png"}'
    once = validate_manifest(rows, root=tmp_path)
    monkeypatch.chdir("/")
    pd.testing.assert_frame_equal(validate_manifest(once), once)
    once.to_parquet(tmp_path / "m.parquet")
    back = validate_manifest(pd.read_parquet(tmp_path / "m.parquet"))
    pd.testing.assert_frame_equal(back, once)


def test_without_regions_the_column_is_there_all_the_same(make_rows: Rows, tmp_path: Path) -> None:
    assert validate_manifest(make_rows(2, masks=False), root=tmp_path)["region"].tolist() == [None, None]


def test_relative_paths_start_from_the_working_directory_by_default(
    make_rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert validate_manifest(make_rows(1))["image"][0] == str(tmp_path / "images" / "0.png")


def test_file_addresses(make_rows: Rows, tmp_path: Path) -> None:
    rows = make_rows(1, masks=False)
    save_picture(tmp_path / "a b#1.png")
    rows["image"] = f"file://{tmp_path}/a%20b%231.png"
    assert validate_manifest(rows)["image"].tolist() == [str(tmp_path / "a b#1.png")]


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("nothing://host/a.png", "Protocol not known: nothing"),
        ("gs://bucket/a.png", "gs:// gcsfs"),
        ("file://otherhost/a.png", "another machine"),
        ("file:///a.png?x=1", "%3F"),
        ("a\0b.png", "not a path"),
        (17, "17 is not text"),
        (["a.png"], "not text"),
    ],
)
def test_addresses_that_are_refused(make_rows: Rows, tmp_path: Path, address: object, message: str) -> None:
    rows = make_rows(2, masks=False)
    rows["image"] = pd.Series([rows["image"][0], address], dtype=object)
    (found,) = faults(rows, root=tmp_path)
    assert found.startswith("row 2, column image: ")
    assert message in found


def test_ids_stay_unique(tmp_path: Path) -> None:
    names = ["a/x.png", "a/x.bmp", "b/x.png", "b/y.png"]
    for name in names:
        save_picture(tmp_path / name)
    rows = pd.DataFrame({"image": names, "label": "cat"})
    expected = ["a/x.png", "a/x.bmp", "b/x", "b/y"]
    assert validate_manifest(rows, root=tmp_path)["image_id"].tolist() == expected
    # Images outside the root: relative to the folder that they share.
    outside = validate_manifest(
        rows.assign(image=[str(tmp_path / name) for name in names]), root="/elsewhere"
    )
    assert outside["image_id"].tolist() == expected


def test_ids_do_not_depend_on_the_machine(tmp_path: Path) -> None:
    found = []
    for place in ("here", "far/away"):
        save_picture(tmp_path / place / "cat" / "1.png")
        rows = pd.DataFrame({"image": ["cat/1.png"], "label": ["cat"]})
        found.append(validate_manifest(rows, root=tmp_path / place)["image_id"].tolist())
    assert found == [["cat/1"], ["cat/1"]]


def test_ids_never_collide_with_a_longer_name(tmp_path: Path) -> None:
    names = ["x.png", "x.bmp", "x.png.png"]
    for name in names:
        save_picture(tmp_path / name)
    ids = validate_manifest(pd.DataFrame({"image": names, "label": "a"}), root=tmp_path)["image_id"]
    assert ids.is_unique, ids.tolist()


def test_all_faults_come_in_one_message(make_rows: Rows, tmp_path: Path) -> None:
    rows = make_rows(9, image_id=[f"id{n}" for n in range(9)])
    rows.loc[0, "image"] = "images/gone.png"
    rows.loc[1, "label"] = None
    rows.loc[2, "label"] = "catt"
    save_region(tmp_path / "masks" / "3.png", size=(SIZE[0], SIZE[1] - 1))
    rows.loc[4, "image_id"] = "id3"
    rows.loc[5, "image"] = rows.loc[3, "image"]
    rows.loc[6, "region"] = "masks/gone.png"
    rows.loc[7, "image"] = float("nan")
    (tmp_path / "masks" / "8.png").write_text("no picture")
    found = faults(rows, root=tmp_path, classes=["cat", "dog", "bird"], source="data.csv", rows=range(2, 11))
    expected = [
        ("row 2, column image: ", "gone.png: no such file"),
        ("row 3, column label: ", "empty"),
        ("row 4, column label: ", "did you mean 'cat'?"),
        ("row 5, column region: ", "15x12 pixels (width x height), its upright image 16x12"),
        ("row 6, column image_id: ", "'id3' is in row 5 already"),
        ("row 7, column image: ", "is in row 5 already"),
        ("row 8, column region: ", "gone.png: no such file"),
        ("row 9, column image: ", "a label without an image"),
        ("row 10, column region: ", "8.png: not an image file"),
        ("column label: class 'bird' has no image", ""),
    ]
    assert len(found) == len(expected), found
    for line, (start, what) in zip(found, expected, strict=True):
        assert line.startswith(start), line
        assert what in line, line


def test_the_message_names_the_source_and_counts(make_rows: Rows, tmp_path: Path) -> None:
    rows = make_rows(2)
    rows["image"] = ["x.png", "y.png"]
    with pytest.raises(ManifestError, match=r"(?s)data\.csv: 2 fault.*row 1.*row 2"):
        validate_manifest(rows, root=tmp_path, source="data.csv")


def test_each_class_of_the_model_has_images(make_rows: Rows, tmp_path: Path) -> None:
    rows = make_rows(2)
    assert len(validate_manifest(rows, root=tmp_path, classes=["dog", "cat"])) == 2
    assert faults(rows, root=tmp_path, classes=["cat", "dog", "horse"]) == [
        "column label: class 'horse' has no image"
    ]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (["Image", "label"], ["column image: missing", "'Image'"]),
        (["image", "labels"], ["column label: missing", "did you mean 'labels'?"]),
        (["image", "class"], ["column label: missing", "the columns are image, class"]),
        (["img", "lable"], ["column image: missing", "column label: missing", "'lable'"]),
        (["image", "image", "label"], ["column image: occurs 2 times"]),
        ([], ["the columns are none"]),
    ],
)
def test_missing_columns_offer_near_names(columns: list[str], expected: list[str]) -> None:
    found = "\n".join(faults(pd.DataFrame([["a"] * len(columns)], columns=columns)))
    for part in expected:
        assert part in found


def test_a_nearly_right_optional_column_is_reported(
    make_rows: Rows, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        validate_manifest(make_rows(2, Groups=["a", "b"]), root=tmp_path)
    assert "column 'Groups' is not used; did you mean 'group'?" in caplog.text


def test_empty_manifest() -> None:
    assert faults(pd.DataFrame({"image": [], "label": []})) == ["no rows: an empty manifest cannot be used"]


@pytest.mark.parametrize("blank", [None, float("nan"), pd.NA, "", "  "])
def test_blank_labels(make_rows: Rows, tmp_path: Path, blank: object) -> None:
    rows = make_rows(2, masks=False)
    rows["label"] = pd.Series(["cat", blank], dtype=object)
    assert faults(rows, root=tmp_path) == ["row 2, column label: empty"]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([0, 1], ["0", "1"]),
        (pd.array([7, 8], dtype="Int64"), ["7", "8"]),
        (np.array([3, 4], dtype=np.uint8), ["3", "4"]),
        ([True, False], ["True", "False"]),
        (["NA", "null"], ["NA", "null"]),
        ([" nan", "None "], ["nan", "None"]),
        ([b"cat", b"dog"], ["cat", "dog"]),
        (pd.Categorical(["cat", "dog"]), ["cat", "dog"]),
    ],
)
def test_labels_become_text(make_rows: Rows, tmp_path: Path, labels: object, expected: list[str]) -> None:
    rows = make_rows(2, masks=False)
    rows["label"] = labels
    result = validate_manifest(rows, root=tmp_path)
    assert result["label"].tolist() == expected
    assert manifest_classes(result) == tuple(sorted(expected))


def test_blank_ids_are_a_fault(make_rows: Rows, tmp_path: Path) -> None:
    (found,) = faults(make_rows(2, image_id=["a", None]), root=tmp_path)
    assert found.startswith("row 2, column image_id: empty")


def test_unreadable_images_are_logged_not_refused(
    make_rows: Rows, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = make_rows(3)
    (tmp_path / "images" / "1.png").write_bytes(b"no picture")
    with caplog.at_level(logging.WARNING):
        assert len(validate_manifest(rows, root=tmp_path)) == 3
    assert "1 image(s)" in caplog.text
    assert "1.png" in caplog.text


def test_a_folder_in_place_of_an_image(make_rows: Rows, tmp_path: Path) -> None:
    rows = make_rows(2, masks=False)
    rows.loc[1, "image"] = "images"
    (found,) = faults(rows, root=tmp_path)
    assert "row 2, column image" in found
    assert "a folder" in found


def test_hints_for_missing_files(make_rows: Rows, tmp_path: Path) -> None:
    rows = make_rows(2, masks=False)
    rows["image"] = ["images\\0.png", "pictures/1.png"]
    first, second = faults(rows, root=tmp_path)
    assert "'/' instead of '\\'" in first
    assert f"the folder {tmp_path / 'pictures'} does not exist either" in second


def test_region_is_compared_with_the_upright_image(make_rows: Rows, tmp_path: Path) -> None:
    rows = make_rows(2)
    exif = Image.Exif()
    exif[0x0112] = 6
    for number in range(2):
        Image.open(tmp_path / "images" / f"{number}.png").save(
            tmp_path / "images" / f"{number}.jpg", exif=exif
        )
    rows["image"] = ["images/0.jpg", "images/1.jpg"]
    save_region(tmp_path / "masks" / "0.png", size=(SIZE[1], SIZE[0]))
    (found,) = faults(rows, root=tmp_path)
    assert found.startswith("row 2, column region")
    assert "its upright image 12x16" in found


def test_files_need_not_be_looked_at(make_rows: Rows) -> None:
    rows = make_rows(2)
    assert len(validate_manifest(rows, root="/nowhere", check_files=False)) == 2


def test_zone_faults(make_rows: Rows, tmp_path: Path) -> None:
    save_region(tmp_path / "small.png", size=(3, 3))
    zones = ["walkway", '{"mask": "gone.png"}', '{"mask": "small.png", "valid": false}', None]
    found = faults(make_rows(4, zone=zones), root=tmp_path)
    assert found[0].startswith("row 1, column zone: not JSON")
    assert f"row 2, column zone: {tmp_path / 'gone.png'}: no such file" in found[1]
    assert "row 3, column zone" in found[2]
    assert "is 3x3 pixels (width x height), the image 16x12" in found[2]
    assert len(found) == 3


def test_fifty_thousand_rows_without_files_take_seconds() -> None:
    names = [f"images/{n}.png" for n in range(50_000)]
    rows = pd.DataFrame({"image": names, "label": ["cat", "dgo"] * 25_000})
    rows.loc[0, "label"] = "dog"
    begin = time.perf_counter()
    assert len(faults(rows, root="/nowhere", classes=["cat", "dog"], check_files=False)) == 25_000
    assert time.perf_counter() - begin < 10  # 0.3 s on an idle core; quadratic code takes minutes


@pytest.mark.photos
def test_the_photographs_are_a_valid_manifest(photos_root: Path) -> None:
    for name in ("walkway", "walkway_place"):
        folder = photos_root / name
        rows = pd.read_csv(folder / "manifest.csv")
        result = validate_manifest(rows, root=folder, classes=["pedestrian", "empty"])
        assert len(result) == len(rows)
        assert result["image_id"].is_unique
        assert result["region"].notna().all()
