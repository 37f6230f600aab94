"""COCO instance files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from annotated import BOXES, SIZE, change, dump, write_coco
from pycocotools import mask as coco_mask

from camgate.data.formats.coco import load_coco
from camgate.data.images import read_mask
from camgate.data.rle import cell_pixels
from camgate.errors import InputError, ManifestError
from camgate.scenes.dataset import run_lengths, write_scenes

H, W = SIZE
TRIANGLE = [5.0, 5.0, 40.0, 8.0, 20.0, 35.0]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_coco(tmp_path, BOXES)


def pixels(cell: str) -> np.ndarray:
    return cell_pixels(cell)[0]


def fault(path: Path, **options: Any) -> str:
    """The only fault of a file."""
    with pytest.raises(ManifestError) as caught:
        load_coco(path, **options)
    assert str(path) in str(caught.value)
    assert len(caught.value.faults) == 1, caught.value.faults
    return caught.value.faults[0]


def compressed(mask: np.ndarray) -> dict[str, Any]:
    code = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(mask.shape), "counts": code["counts"].decode()}


def uncompressed(mask: np.ndarray) -> dict[str, Any]:
    return {"size": list(mask.shape), "counts": run_lengths(mask)}


def test_the_scenes_file_and_their_masks_are_the_same_regions(tmp_path: Path) -> None:
    scenes = write_scenes(tmp_path / "scenes", per_class=2, size=64).set_index("image")
    manifest = load_coco(tmp_path / "scenes" / "coco.json", empty_label="empty").set_index("image")
    assert set(manifest.index) == set(scenes.index)
    for image, expected in scenes.iterrows():
        assert manifest.loc[image, "label"] == expected["label"]
        np.testing.assert_array_equal(pixels(manifest.loc[image, "region"]), read_mask(expected["region"]))


def test_polygons_and_both_run_length_codes_are_the_same_region(file: Path) -> None:
    mask = coco_mask.decode(coco_mask.frPyObjects([TRIANGLE], H, W))[..., 0].astype(bool)
    for segmentation in ([TRIANGLE], compressed(mask), uncompressed(mask)):
        manifest = load_coco(change(file, "annotations", 0, segmentation=segmentation))
        np.testing.assert_array_equal(pixels(manifest["region"][0]), mask)


def test_an_object_of_several_polygons_is_their_union(file: Path) -> None:
    parts = [[0, 0, 10, 0, 10, 10, 0, 10], [20, 20, 30, 20, 30, 30, 20, 30]]
    region = pixels(load_coco(change(file, "annotations", 0, segmentation=parts))["region"][0])
    expected = np.zeros(SIZE, bool)
    expected[:10, :10] = expected[20:30, 20:30] = True
    np.testing.assert_array_equal(region, expected)


@pytest.mark.parametrize("empty", [..., None, []])
def test_without_segmentation_the_box_is_the_region(file: Path, empty: Any) -> None:
    if empty is not ...:
        change(file, "annotations", 0, segmentation=empty, keypoints=[1, 2, 2])
    region = pixels(load_coco(file)["region"][0])
    expected = np.zeros(SIZE, bool)
    expected[5:25, 10:30] = True
    np.testing.assert_array_equal(region, expected)


def crowd(file: Path, image: int, category: int, mask: np.ndarray) -> Path:
    content = json.loads(file.read_text())
    content["annotations"].append(
        {
            "id": 900,
            "image_id": image,
            "category_id": category,
            "iscrowd": 1,
            "segmentation": uncompressed(mask),
        }
    )
    return dump(file, content)


def test_a_crowd_of_the_label_is_void_and_a_single_instance_in_it_stays_valid(file: Path) -> None:
    mask = np.zeros(SIZE, bool)
    mask[:, :15] = True
    valid, void = cell_pixels(load_coco(crowd(file, 7, 1, mask))["region"][0])
    box = np.zeros(SIZE, bool)
    box[5:25, 10:30] = True
    np.testing.assert_array_equal(valid, box)
    assert void is not None
    np.testing.assert_array_equal(void, mask & ~box)


def test_a_crowd_of_another_category_is_no_label_and_no_void(file: Path) -> None:
    manifest = load_coco(crowd(file, 7, 18, np.ones(SIZE, bool)))
    assert manifest["label"][0] == "dog"
    assert cell_pixels(manifest["region"][0])[1] is None


def test_a_crowd_makes_no_crop_and_is_never_the_largest(file: Path) -> None:
    crowd(file, 7, 18, np.ones(SIZE, bool))
    assert load_coco(file, multiple="largest")["label"][0] == "dog"
    assert len(load_coco(file, multiple="crop")) == 4


def test_an_image_of_a_crowd_alone_is_not_empty(file: Path) -> None:
    content = json.loads(crowd(file, 7, 18, np.ones(SIZE, bool)).read_text())
    del content["annotations"][0]
    dump(file, content)
    assert "1 of 3 images hold only crowds" in fault(file, empty_label="empty")
    assert len(load_coco(file, multiple="drop", empty_label="empty")) == 2


def test_plain_keys_of_images_become_columns(file: Path) -> None:
    change(file, "images", 0, split="test", group="g1", camera=3, label="mine", region="r", tags=["no"])
    manifest = load_coco(file)
    assert manifest["split"].tolist() == ["test", "", ""]
    assert manifest["group"].tolist() == ["g1", "", ""]
    assert manifest["camera"][0] == 3
    assert "tags" not in manifest
    assert manifest["label"][0] == "dog"
    assert load_coco(file, split="train")["split"].unique().tolist() == ["train"]
    assert load_coco(file, multiple="crop")["group"].tolist()[0] == "g1"


def test_label_from_a_key(file: Path) -> None:
    for number in range(3):
        change(file, "images", number, label=f"l{number}", kind="dog")
    assert load_coco(file, label_from="label")["label"].tolist() == ["l0", "l1", "l2"]
    manifest = load_coco(file, label_from="kind")
    assert [pixels(cell).any() for cell in manifest["region"]] == [True, False, True]
    with pytest.raises(ManifestError, match=r"no column 'knd'.*did you mean 'kind'"):
        load_coco(file, label_from="knd")


def test_images_elsewhere_and_sizes_not_stated(tmp_path: Path) -> None:
    write_coco(tmp_path / "pictures", BOXES)
    file = tmp_path / "annotations" / "instances.json"
    file.parent.mkdir()
    (tmp_path / "pictures" / "coco.json").rename(file)
    for number in range(3):
        change(file, "images", number, width=..., height=...)
    manifest = load_coco(file, tmp_path / "pictures")
    assert manifest["image"][0] == str(tmp_path / "pictures" / "a.png")
    assert manifest["image_id"].tolist() == ["a", "b", "c"]
    with pytest.raises(ManifestError, match="give `images`"):
        load_coco(file)


def test_without_looking_at_files(tmp_path: Path) -> None:
    file = write_coco(tmp_path, BOXES, pictures=False)
    assert len(load_coco(file, check_files=False)) == 3


def test_an_image_that_cannot_be_read_is_left_to_the_audit(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (file.parent / "b.png").write_bytes(b"no picture")
    assert len(load_coco(file)) == 3
    assert "without a readable header" in caplog.text


# Bad input: one fault each, which names the file and the entry.


@pytest.mark.parametrize(
    ("part", "number", "values", "texts"),
    [
        ("annotations", 1, {"category_id": 2}, ["annotation id 102", "category_id 2 is not among"]),
        ("annotations", 1, {"category_id": ...}, ["annotation id 102", "category_id None"]),
        ("annotations", 1, {"image_id": 8}, ["(id 102)", "image_id 8 is not among the images"]),
        ("annotations", 1, {"id": 101}, ["entry 2 (id 101)", "already"]),
        ("annotations", 1, {"id": ...}, ["entry 2 (id None)", "`id`"]),
        ("annotations", 0, {"bbox": [10, 5, -20, 20]}, ["annotation id 101", "negative width"]),
        ("annotations", 0, {"bbox": [-10, 5, 20, 20]}, ["annotation id 101", "outside the image of 60x40"]),
        ("annotations", 0, {"bbox": [10, 5, 0, 20]}, ["annotation id 101", "no area"]),
        ("annotations", 0, {"bbox": [10, 5, 20]}, ["annotation id 101", "[x, y, width, height]"]),
        ("annotations", 0, {"bbox": [10, 5, "20", 20]}, ["annotation id 101", "[x, y, width, height]"]),
        ("annotations", 0, {"bbox": [10, 5, float("nan"), 20]}, ["annotation id 101", "finite"]),
        ("annotations", 0, {"bbox": ...}, ["annotation id 101", "neither `segmentation` nor `bbox`"]),
        ("annotations", 0, {"iscrowd": 2}, ["annotation id 101", "`iscrowd`"]),
        ("annotations", 0, {"segmentation": "x"}, ["annotation id 101", "polygons or a run-length code"]),
        ("annotations", 0, {"segmentation": [[1, 1, 9, 9]]}, ["annotation id 101", "2 corner(s)"]),
        ("annotations", 0, {"segmentation": [[1, 1, 9, 9, 5, 5, 3]]}, ["annotation id 101", "odd number"]),
        ("annotations", 0, {"segmentation": [[1, 1, 9, 9, 5, None]]}, ["annotation id 101", "finite"]),
        (
            "annotations",
            0,
            {"segmentation": [[1, 1, 63, 9, 5, 5]]},
            ["annotation id 101", "outside", "x 1 to 63"],
        ),
        ("annotations", 0, {"segmentation": [[1, 1, float("inf"), 9, 5, 5]]}, ["id 101", "finite"]),
        ("annotations", 0, {"segmentation": [1, 1, 9, 9, 5, 5]}, ["annotation id 101", "list of numbers"]),
        ("annotations", 0, {"segmentation": {"size": [H, W - 1], "counts": [H * W]}}, ["id 101", "[40, 59]"]),
        (
            "annotations",
            0,
            {"segmentation": {"size": [H, W], "counts": [100]}},
            ["id 101", "covers 100 pixels"],
        ),
        (
            "annotations",
            0,
            {"segmentation": {"size": [H, W], "counts": [-5, H * W + 5]}},
            ["id 101", "0 or more"],
        ),
        ("annotations", 0, {"segmentation": {"size": [H, W], "counts": "5"}}, ["id 101", "covers 5 pixels"]),
        ("annotations", 0, {"segmentation": {"size": [H, W], "counts": "PP"}}, ["id 101", "cut off"]),
        ("images", 1, {"id": 7}, ["images id 7 (b.png)", "that of 'a.png' already"]),
        ("images", 1, {"file_name": ...}, ["images entry 2", "`file_name`"]),
        ("images", 1, {"width": -60}, ["images id 10 (b.png)", "positive"]),
        ("images", 1, {"height": 40.5}, ["images id 10 (b.png)", "positive"]),
        ("images", 1, {"file_name": "nothing://host/b.png"}, ["images id 10", "remote address"]),
        ("categories", 1, {"name": " "}, ["categories entry 2", "`name`"]),
        ("categories", 1, {"name": "dog"}, ["categories entry 2", "taken already"]),
    ],
)
def test_bad_entries_are_named(
    file: Path, part: str, number: int, values: dict[str, Any], texts: list[str]
) -> None:
    change(file, part, number, **values)
    with pytest.raises(ManifestError) as caught:
        load_coco(file)
    assert str(file) in str(caught.value)
    for text in texts:
        assert text in caught.value.faults[0]


def test_an_image_listed_twice(file: Path) -> None:
    content = json.loads(file.read_text())
    content["images"].append(content["images"][0] | {"id": 99, "file_name": "./a.png"})
    assert "images id 99 (./a.png): the image is listed already, by id 7" in fault(dump(file, content))


def test_all_faults_are_collected(file: Path) -> None:
    change(file, "annotations", 0, bbox=[0, 0, -1, 5])
    change(file, "annotations", 1, category_id=77)
    change(file, "annotations", 2, segmentation=[[1, 2, 3]])
    with pytest.raises(ManifestError) as caught:
        load_coco(file)
    assert [f.split(" (")[0] for f in caught.value.faults[:3]] == [
        f"annotation id {n}" for n in (101, 102, 103)
    ]


def test_corners_just_outside_are_clipped(file: Path) -> None:
    manifest = load_coco(change(file, "annotations", 0, bbox=[-2, -1, 64, 43]))
    assert pixels(manifest["region"][0]).all()
    manifest = load_coco(change(file, "annotations", 0, segmentation=[[-1, -2, 61, -2, 62, 42, -1, 42]]))
    assert pixels(manifest["region"][0]).all()


def test_faults_of_categories_that_do_not_count_are_passed_over(file: Path) -> None:
    change(file, "annotations", 1, bbox=[0, 0, -1, 5])
    manifest = load_coco(file, categories=["dog"], multiple="drop")
    assert manifest["label"].tolist() == ["dog", "dog"]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("[]".encode("utf-16"), "UTF-16"),
        ('{"images": "Zürich"}'.encode("latin-1"), "not UTF-8 text .*0xfc in line 1"),
        (b'{"images": [', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[1]", "not a COCO instances file.*found: a list"),
        (b'{"images": [], "annotations": []}', "not a COCO instances file.*images, annotations"),
        (b'{"images": [3], "annotations": [], "categories": []}', "entry 1 of `images` is no object"),
    ],
)
def test_files_that_are_no_coco_files(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "instances.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=what) as caught:
        load_coco(path)
    assert str(path) in str(caught.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_coco(tmp_path / "instances.json")


def test_a_byte_order_mark_is_read_over(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert len(load_coco(file)) == 3


def test_label_file_names_that_fit_two_images(tmp_path: Path) -> None:
    file = write_coco(tmp_path, {"x/1.png": [], "y/1.png": []})
    table = tmp_path / "labels.csv"
    table.write_text("image,label\n1.png,dog\n")
    assert "fits" in fault(file, label_from=str(table))
    table.write_text("image,label\nx/1.png,dog\ny/1.png,cat\n")
    assert load_coco(file, label_from=str(table))["label"].tolist() == ["dog", "cat"]
