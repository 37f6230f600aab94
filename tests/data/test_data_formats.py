"""What holds for COCO, VOC and YOLO alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from annotated import BOXES, SIZE, Images, write_coco, write_voc, write_yolo
from data_pictures import save_picture

from camgate.data.formats.coco import load_coco
from camgate.data.formats.rows import crop_window
from camgate.data.formats.voc import load_voc
from camgate.data.formats.yolo import load_yolo
from camgate.data.manifest import validate_manifest
from camgate.data.rle import cell_pixels
from camgate.data.zones import Zone
from camgate.errors import InputError, ManifestError

Load = Callable[..., pd.DataFrame]
FORMATS: dict[str, tuple[Callable[..., Path], Load]] = {
    "coco": (write_coco, load_coco),
    "voc": (write_voc, load_voc),
    "yolo": (write_yolo, load_yolo),
}
MIXED: Images = {
    "one.png": [("dog", (2, 2, 12, 12))],
    "both.png": [("dog", (0, 0, 30, 20)), ("person", (30, 20, 60, 40)), ("person", (50, 0, 60, 10))],
    "also.png": [("person", (0, 0, 5, 5)), ("dog", (10, 10, 40, 40))],
    "none.png": [],
}


@pytest.fixture(params=sorted(FORMATS))
def read(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., pd.DataFrame]:
    """Write images in one of the formats and read them."""
    write, load = FORMATS[request.param]
    return lambda images=BOXES, **options: load(write(tmp_path / "set", images), **options)


def painted(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    for x0, y0, x1, y1 in boxes:
        mask[y0:y1, x0:x1] = True
    return mask


def row(manifest: pd.DataFrame, name: str) -> Any:
    rows = manifest[[Path(image).name == name for image in manifest["image"]]]
    assert len(rows) == 1
    return rows.iloc[0]


def pixels(cell: str) -> np.ndarray:
    return cell_pixels(cell)[0]


def test_one_row_an_image_with_the_union_of_its_instances(read: Load) -> None:
    manifest = read()
    assert [Path(image).name for image in manifest["image"]] == ["a.png", "b.png", "c.png"]
    assert manifest["label"].tolist() == ["dog", "person", "dog"]
    for name, instances in BOXES.items():
        np.testing.assert_array_equal(
            pixels(row(manifest, name)["region"]), painted(*(box for _, box in instances))
        )
    pd.testing.assert_frame_equal(validate_manifest(manifest), manifest)


def test_several_categories_are_an_error_that_counts(read: Load) -> None:
    with pytest.raises(ManifestError) as caught:
        read(MIXED)
    text = str(caught.value)
    assert "2 of 4 images hold instances of several categories" in text
    assert "dog + person (2)" in text
    assert "both.png" in text
    assert "`multiple`" in text
    assert "1 of 4 images hold no instance, the first: " in text
    assert "none.png" in text
    assert "`empty_label`" in text


def test_drop(read: Load) -> None:
    manifest = read(MIXED, multiple="drop")
    assert [Path(image).name for image in manifest["image"]] == ["one.png"]
    both = read(MIXED, multiple="drop", empty_label="empty")
    assert sorted(both["label"]) == ["dog", "empty"]


def test_drop_that_leaves_nothing_is_an_error(read: Load) -> None:
    with pytest.raises(ManifestError, match="no row remains of 1 image"):
        read({"both.png": MIXED["both.png"]}, multiple="drop")


def test_largest_takes_the_category_of_the_largest_instance(read: Load) -> None:
    manifest = read(MIXED, multiple="largest", empty_label="empty")
    labels = {
        Path(image).name: label for image, label in zip(manifest["image"], manifest["label"], strict=True)
    }
    # both.png: dog and person are equal, the first counts; persons together are more, but not one alone.
    assert labels == {"one.png": "dog", "both.png": "dog", "also.png": "dog", "none.png": "empty"}
    np.testing.assert_array_equal(pixels(row(manifest, "both.png")["region"]), painted((0, 0, 30, 20)))
    assert not pixels(row(manifest, "none.png")["region"]).any()
    with pytest.raises(ManifestError, match="1 of 4 images hold no instance"):
        read(MIXED, multiple="largest")


def test_crop_makes_a_row_of_each_instance(read: Load) -> None:
    manifest = read(MIXED, multiple="crop", crop_margin=0.5)
    assert len(manifest) == 6
    assert manifest["image_id"].is_unique
    both = manifest[[Path(image).name == "both.png" for image in manifest["image"]]]
    assert both["label"].tolist() == ["dog", "person", "person"]
    assert both["group"].nunique() == 1
    assert set(both["group"]) != set(manifest["group"])
    # Half of 30 pixels around the dog; a person's 10 pixels are widened by 8.
    assert both["crop"].tolist() == ["0,0,45,35", "15,5,60,40", "42,0,60,18"]
    assert all("both.png#" in name for name in both["image_id"])
    for label, cell in zip(both["label"], both["region"], strict=True):
        boxes = [box for name, box in MIXED["both.png"] if name == label]
        np.testing.assert_array_equal(pixels(cell), painted(*boxes))
    pd.testing.assert_frame_equal(validate_manifest(manifest), manifest)


def test_the_same_crop_twice_is_an_error(read: Load) -> None:
    manifest = read(MIXED, multiple="crop")
    manifest.loc[2, "crop"] = manifest.loc[1, "crop"]
    manifest.loc[2, "image"] = manifest.loc[1, "image"]
    with pytest.raises(ManifestError, match="row 3, column image"):
        validate_manifest(manifest)


def test_crop_keeps_an_image_without_instances_when_it_has_a_name(read: Load) -> None:
    manifest = read(MIXED, multiple="crop", empty_label="empty")
    empty = row(manifest, "none.png")
    assert empty["label"] == "empty"
    assert empty["crop"] is None
    assert len(manifest) == 7


def test_crop_window_is_widened_and_clipped() -> None:
    assert crop_window((100, 100, 140, 120), (480, 640), 0.25) == (90, 90, 150, 130)
    assert crop_window((100, 100, 102, 103), (480, 640), 0.25) == (92, 92, 110, 111)
    assert crop_window((0, 470, 640, 480), (480, 640), 0.25) == (0, 310, 640, 480)


def test_categories_say_what_counts(read: Load) -> None:
    manifest = read(MIXED, categories=["dog"], multiple="drop")
    assert len(manifest) == 3
    assert set(manifest["label"]) == {"dog"}
    np.testing.assert_array_equal(pixels(row(manifest, "also.png")["region"]), painted((10, 10, 40, 40)))
    with pytest.raises(ManifestError, match=r"no category 'dgo'; did you mean 'dog'\?"):
        read(MIXED, categories=["dgo"], multiple="drop")


def test_label_from_folder_leaves_no_region_where_nothing_matches(read: Load, tmp_path: Path) -> None:
    labels = {"one.png": "dog", "both.png": "person", "also.png": "cat", "none.png": "dog"}
    table = tmp_path / "labels.csv"
    table.write_text("image,label\n" + "".join(f"{name},{label}\n" for name, label in labels.items()))
    listing = tmp_path / "labels.json"
    listing.write_text(json.dumps([{"image": name, "label": label} for name, label in labels.items()]))
    for source in (table, listing):
        manifest = read(MIXED, label_from=str(source))
        assert {
            Path(i).name: label for i, label in zip(manifest["image"], manifest["label"], strict=True)
        } == labels
        np.testing.assert_array_equal(
            pixels(row(manifest, "both.png")["region"]), painted((30, 20, 60, 40), (50, 0, 60, 10))
        )
        assert not pixels(row(manifest, "also.png")["region"]).any()
        assert not pixels(row(manifest, "none.png")["region"]).any()
    folders = read(MIXED, label_from="folder")
    assert set(folders["label"]) == {Path(image).parent.name for image in folders["image"]}
    assert not any(pixels(cell).any() for cell in folders["region"])


def test_label_files_with_faults(read: Load, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("image,label\na.png,dog\nb.png,\na.png,cat\n")
    with pytest.raises(ManifestError) as caught:
        read(label_from=str(table))
    assert "entry 3: `label` is empty" in str(caught.value)
    assert "entry 4: image 'a.png' is listed already" in str(caught.value)
    table.write_text("image,label\na.png,dog\n")
    with pytest.raises(ManifestError) as caught:
        read(label_from=str(table))
    assert len(caught.value.faults) == 2
    assert "names no label for it" in str(caught.value)
    table.write_text("image,lable\na.png,dog\n")
    with pytest.raises(InputError, match=r"no column 'label'; .*did you mean 'lable'"):
        read(label_from=str(table))
    with pytest.raises(InputError, match="no such file"):
        read(label_from=str(tmp_path / "absent.csv"))
    with pytest.raises(ManifestError, match=r"no column 'labels' \(`label_from`\)"):
        read(label_from="labels")


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"multiple": "larges"}, "did you mean 'largest'"),
        ({"crop_margin": -1}, "crop_margin"),
        ({"categories": "dog"}, "list of one or more names"),
        ({"categories": []}, "list of one or more names"),
        ({"empty_label": " "}, "empty_label"),
        ({"label_from": ""}, "label_from"),
        ({"label_from": "folder", "multiple": "crop"}, "leave `multiple` out"),
        ({"label_from": "folder", "empty_label": "empty"}, "leave `empty_label` out"),
    ],
)
def test_options_without_meaning_are_refused(read: Load, options: dict[str, Any], what: str) -> None:
    with pytest.raises(InputError, match=what):
        read(**options)


def test_a_zone_is_added(read: Load) -> None:
    zone = Zone(polygon=[(0, 0), (1, 0), (1, 0.5)], valid=False)
    assert all('"valid": false' in cell for cell in read(zone=zone)["zone"])


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_missing_images_are_named(name: str, tmp_path: Path) -> None:
    write, load = FORMATS[name]
    place = write(tmp_path, BOXES)
    image = next(tmp_path.rglob("b.png"))
    if name == "yolo":  # images are found by listing folders; a list names one that is not there
        (tmp_path / "train.txt").write_text("".join(f"images/train/{file}\n" for file in BOXES))
        (tmp_path / "data.yaml").write_text("train: train.txt\nnames: [dog, person]\n")
    image.unlink()
    with pytest.raises(ManifestError, match=r"b\.png: no such file") as caught:
        load(place)
    assert len(caught.value.faults) == 1
    for other in ("a.png", "c.png"):
        next(tmp_path.rglob(other)).unlink()
    with pytest.raises(ManifestError, match="none of the 3 images is there") as caught:
        load(place)
    assert len(caught.value.faults) == 1


@pytest.mark.parametrize("name", ["coco", "voc"])
def test_an_image_of_another_size_is_named(name: str, tmp_path: Path) -> None:
    write, load = FORMATS[name]
    place = write(tmp_path, BOXES)
    save_picture(next(tmp_path.rglob("b.png")), 0, (60, 40))
    with pytest.raises(ManifestError, match=r"b\.png is 40x60 pixels .* says 60x40; .*EXIF"):
        load(place)
    save_picture(next(tmp_path.rglob("b.png")), 0, (60, 50))
    with pytest.raises(ManifestError, match=r"b\.png is 50x60 pixels .* says 60x40$"):
        load(place)


def test_a_missing_library_is_named(read: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pycocotools.mask", None)
    with pytest.raises(InputError, match=r"pip install 'camgate\[formats\]'"):
        read()
