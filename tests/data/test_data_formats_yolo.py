"""YOLO data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from annotated import BOXES, SIZE, write_coco, write_yolo, yolo_line
from data_pictures import save_picture
from pycocotools import mask as coco_mask
from supervision.dataset.formats.yolo import yolo_annotations_to_detections
from supervision.detection.utils.converters import polygon_to_mask

from camgate.data.formats.coco import load_coco
from camgate.data.formats.yolo import load_yolo
from camgate.data.rle import cell_pixels
from camgate.errors import InputError, ManifestError

H, W = SIZE


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_yolo(tmp_path, BOXES)


def relabel(folder: Path, text: str | bytes, name: str = "a") -> Path:
    path = folder / "labels" / "train" / f"{name}.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def fault(place: Path, **options: Any) -> str:
    with pytest.raises(ManifestError) as caught:
        load_yolo(place, **options)
    assert len(caught.value.faults) == 1, caught.value.faults
    return caught.value.faults[0]


def test_polygons_are_those_of_coco(tmp_path: Path) -> None:
    images = {
        "a.png": [("dog", (5.0, 5.0, 40.0, 8.0, 20.0, 35.0)), ("dog", (45, 20, 60, 20, 60, 40, 50, 40))]
    }
    ours = load_yolo(write_yolo(tmp_path / "yolo", images))["region"][0]
    coco = load_coco(write_coco(tmp_path / "coco", images))["region"][0]
    np.testing.assert_array_equal(cell_pixels(ours)[0], cell_pixels(coco)[0])


def test_why_polygons_are_not_left_to_supervision() -> None:
    """Its rasteriser fills the outline too, and an odd coordinate is dropped as a confidence."""
    square = np.array([[10, 10], [20, 10], [20, 20], [10, 20]])
    by_coco = coco_mask.frPyObjects([square.ravel().astype(float).tolist()], H, W)
    assert coco_mask.area(by_coco)[0] == 100
    assert polygon_to_mask(square, (W, H)).sum() == 121
    found = yolo_annotations_to_detections(["0 .1 .1 .5 .1 .5 .5 .3"], resolution_wh=(W, H), with_masks=False)
    assert len(found) == 1


def test_splits_of_folders_lists_and_paths(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for split in ("train", "val", "test"):
        write_yolo(root, {f"{split}.png": [("dog", (0, 0, 10, 10))]}, split=split)
    write_yolo(
        root, {"more.png": [("dog", (0, 0, 10, 10))], "left.png": [("dog", (0, 0, 9, 9))]}, split="more"
    )
    (root / "more.txt").write_text("./images/more/more.png\n\n")
    file = tmp_path / "any.yaml"
    file.write_text(
        "path: set\ntrain: [images/train, more.txt]\nval: images/val\ntest: images/test\nnames: {0: dog}\n"
    )
    manifest = load_yolo(file)
    names = [Path(image).name for image in manifest["image"]]
    assert names == ["train.png", "more.png", "val.png", "test.png"]
    assert manifest["split"].tolist() == ["train", "train", "validation", "test"]
    assert manifest["image_id"][0] == "images/train/train"


def test_a_data_yaml_with_names_only(folder: Path) -> None:
    (folder / "data.yaml").write_text("names: [dog, person]\n")
    manifest = load_yolo(folder)
    assert len(manifest) == 3
    assert "split" not in manifest


def test_the_folder_above_that_some_tools_write(folder: Path) -> None:
    (folder / "data.yaml").write_text("train: ../images/train\nnames: [dog, person]\nnc: 2\n")
    assert len(load_yolo(folder)) == 3


def test_labels_beside_the_images(tmp_path: Path) -> None:
    save_picture(tmp_path / "all" / "a.png", 1, SIZE)
    (tmp_path / "all" / "a.txt").write_text(yolo_line(3, (0, 0, 30, 20)))
    (tmp_path / "all" / "classes.txt").write_text("dog\n")
    (tmp_path / "data.yaml").write_text("train: all\nnames: {3: dog, 12: cat}\n")
    region = cell_pixels(load_yolo(tmp_path)["region"][0])[0]
    assert region[:20, :30].all()
    assert region.sum() == 600


def test_classes_as_decimals_and_blank_lines(folder: Path) -> None:
    relabel(folder, "\n1.000e+00 0.5 0.5 0.5 0.5\n\n")
    assert load_yolo(folder)["label"][0] == "person"


def test_boxes_just_outside_are_clipped(folder: Path) -> None:
    relabel(folder, "0 0.5 0.5 1.05 1.05\n")
    assert cell_pixels(load_yolo(folder)["region"][0])[0].all()


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("2 0.5 0.5 0.1 0.1", "class 2 is not among the 2 `names`"),
        ("-1 0.5 0.5 0.1 0.1", "class -1 is not among"),
        ("0.5 0.5 0.5 0.1 0.1", "class id '0.5'"),
        ("dog 0.5 0.5 0.1 0.1", "class id 'dog'"),
        ("inf 0.5 0.5 0.1 0.1", "class id 'inf'"),
        ("0 0.5 0.5 -0.1 0.1", "extent ('-0.1', '0.1')"),
        ("0 0.5 0.5 0 0.1", "no area"),
        ("0 0.9 0.5 0.5 0.1", "outside the image of 60x40"),
        ("0 30 20 10 10", "outside the image.*fractions of width and height"),
        ("0 0.5 nan 0.1 0.1", "not a finite number"),
        ("0 0.5 x 0.1 0.1", "'x'"),
        ("0 0.5 0.5 0.1", "4 values"),
        ("0 0.5 0.5 0.1 0.1 0.9", "6 values"),
        ("0 .1 .1 .5 .1 .5 .5 .3", "8 values"),
        ("0 .1 .1 .5 .1 .5 nan", "not a finite number"),
        ("0 .1 .1 .5 .1 .5 1.2", "outside the image"),
    ],
)
def test_bad_lines_are_named(folder: Path, line: str, what: str) -> None:
    text = fault(relabel(folder, f"0 0.5 0.5 0.1 0.1\n{line}\n"))
    assert text.startswith(f"{folder / 'labels' / 'train' / 'a.txt'}, line 2: ")
    for part in what.split(".*"):
        assert part in text


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("0 0.5 0.5 0.1 0.1\n".encode("utf-16"), "UTF-16"),
        ("0 0.5 é\n".encode("latin-1"), "not UTF-8.* in line 1"),
    ],
)
def test_labels_of_another_encoding(folder: Path, content: bytes, what: str) -> None:
    with pytest.raises(ManifestError, match=what) as caught:
        load_yolo(relabel(folder, content))
    assert str(folder / "labels" / "train" / "a.txt") in str(caught.value)


def test_all_faults_are_collected(folder: Path) -> None:
    relabel(folder, "0 1\n0 2\n")
    relabel(folder, "9 0.5 0.5 0.1 0.1\n", "b")
    with pytest.raises(ManifestError) as caught:
        load_yolo(folder, empty_label="empty")
    assert len(caught.value.faults) == 3


def test_a_label_file_without_its_image(folder: Path) -> None:
    relabel(folder, "0 0.5 0.5 0.1 0.1\n", "stray")
    assert "stray.txt: no image that is listed belongs to this label file" in fault(folder)


def test_images_listed_twice(folder: Path) -> None:
    (folder / "data.yaml").write_text("train: images/train\nval: images/train\nnames: [dog, person]\n")
    with pytest.raises(ManifestError, match=r"`val`, .*a\.png: the image is listed already") as caught:
        load_yolo(folder)
    assert len(caught.value.faults) == 3


def test_images_that_share_a_label_file(folder: Path) -> None:
    save_picture(folder / "images" / "train" / "a.jpg", 1, SIZE)
    assert "a.png: shares its label file" in fault(folder)


def test_an_image_without_a_header_has_no_size(folder: Path) -> None:
    (folder / "images" / "train" / "b.png").write_bytes(b"x")
    text = fault(folder)
    assert "b.png" in text
    assert "its size is needed" in text


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("names: [dog", "not YAML"),
        ("- dog\n", "a mapping with `names` is expected, not list"),
        ("train: images/train\n", "`names` must list"),
        ("names: dog\n", "`names` must list"),
        ("names: [dog, dog]\n", "'dog' is there twice"),
        ("names: {a: dog}\n", "'a': 'dog' is not a number"),
        ("names: {-1: dog}\n", "-1: 'dog' is not a number"),
        ("names: [dog, person]\nnc: 3\n", "`nc` is 3, but `names` has 2"),
        ("names: [dog, person]\npath: nowhere\n", "`path` 'nowhere' is no folder"),
        ("names: [dog, person]\ntrain: nowhere\n", "`train`: .*nowhere is no folder of images"),
        ("names: [dog, person]\ntrain: [3]\n", "`train`: 3 is no path"),
        ("names: [dog, person]\ntrain: labels\n", "no images found"),
    ],
)
def test_a_data_yaml_that_cannot_be_used(folder: Path, text: str, what: str) -> None:
    (folder / "data.yaml").write_text(text)
    with pytest.raises(InputError, match=what) as caught:
        load_yolo(folder)
    assert "data.yaml" in str(caught.value)


def test_no_data_yaml(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no data"):
        load_yolo(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        load_yolo(tmp_path / "data.yaml")


def test_label_from_split(folder: Path) -> None:
    assert load_yolo(folder, label_from="split")["label"].unique().tolist() == ["train"]
