"""Pascal VOC folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from annotated import BOXES, SIZE, voc_object, voc_xml, write_voc
from data_pictures import save_picture
from PIL import Image

from camgate.data.formats.voc import load_voc
from camgate.data.rle import cell_pixels
from camgate.errors import InputError, ManifestError

VOC_PALETTE = [0, 0, 0, 128, 0, 0, 0, 128, 0] + [128, 128, 0] * 252 + [224, 224, 192]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_voc(tmp_path, BOXES)


def save_palette(root: Path, kind: str, name: str, indices: np.ndarray) -> None:
    path = root / kind / f"{name}.png"
    path.parent.mkdir(exist_ok=True)
    picture = Image.fromarray(indices.astype(np.uint8)).convert("P")
    picture.putdata(indices.ravel().tolist())
    picture.putpalette(VOC_PALETTE)
    picture.save(path)


def boxes_as_indices(name: str, void: int = 0) -> np.ndarray:
    indices = np.zeros(SIZE, np.uint8)
    for number, (_, (x0, y0, x1, y1)) in enumerate(BOXES[name], 1):
        indices[y0 + 2 : y1 - 2, x0 + 2 : x1 - 2] = number
        if void:
            indices[y0 : y0 + 2, x0:x1] = 255
    return indices


def rewrite(folder: Path, objects: str, name: str = "a", **options: Any) -> Path:
    path = folder / "Annotations" / f"{name}.xml"
    path.write_text(voc_xml(f"{name}.png", objects, **options), encoding="utf-8")
    return folder


def fault(folder: Path, **options: Any) -> str:
    with pytest.raises(ManifestError) as caught:
        load_voc(folder, **options)
    assert len(caught.value.faults) == 1, caught.value.faults
    return caught.value.faults[0]


def test_objects_come_from_the_palette_by_index_and_255_is_void(folder: Path) -> None:
    for name in BOXES:
        save_palette(folder, "SegmentationObject", name[0], boxes_as_indices(name, void=255))
    manifest = load_voc(folder)
    for name, cell in zip(BOXES, manifest["region"], strict=True):
        indices = boxes_as_indices(name, void=255)
        valid, void = cell_pixels(cell)
        np.testing.assert_array_equal(valid, (indices > 0) & (indices < 255))
        assert void is not None
        np.testing.assert_array_equal(void, indices == 255)
    boxes = load_voc(folder, regions="boxes")
    assert cell_pixels(boxes["region"][0])[0].sum() == 400


def test_only_the_objects_of_the_label_are_valid(folder: Path) -> None:
    rewrite(folder, voc_object("dog", (1, 1, 10, 10)) + voc_object("person", (21, 1, 60, 40)))
    indices = np.zeros(SIZE, np.uint8)
    indices[:10, :10], indices[:, 20:] = 1, 2
    save_palette(folder, "SegmentationObject", "a", indices)
    manifest = load_voc(folder, multiple="largest", regions="masks")
    assert manifest["label"].tolist() == ["person"]
    np.testing.assert_array_equal(cell_pixels(manifest["region"][0])[0], indices == 2)


def test_masks_for_some_images_only_are_warned_about(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_palette(folder, "SegmentationObject", "a", boxes_as_indices("a.png"))
    assert len(load_voc(folder)) == 3
    assert "2 of 3 images have no mask" in caplog.text
    assert len(load_voc(folder, regions="masks")) == 1


def test_classes_from_the_palette_alone(folder: Path) -> None:
    for name, index in (("a.png", 12), ("b.png", 15), ("c.png", 12)):
        save_palette(folder, "SegmentationClass", name[0], (boxes_as_indices(name) > 0) * index)
    manifest = load_voc(folder)
    assert manifest["label"].tolist() == ["dog", "person", "dog"]
    np.testing.assert_array_equal(cell_pixels(manifest["region"][1])[0], boxes_as_indices("b.png") > 0)
    with pytest.raises(ManifestError, match="class index 12 has no name"):
        load_voc(folder, class_names=["dog"])


def test_objects_out_of_order_are_seen_by_their_class(folder: Path) -> None:
    rewrite(folder, voc_object("dog", (1, 1, 10, 10)) + voc_object("person", (21, 1, 60, 40)))
    indices = np.zeros(SIZE, np.uint8)
    indices[:10, :10], indices[:, 20:] = 2, 1  # the other way round
    save_palette(folder, "SegmentationObject", "a", indices)
    save_palette(folder, "SegmentationClass", "a", np.select([indices == 1, indices == 2], [15, 12]))
    save_palette(folder, "SegmentationObject", "c", boxes_as_indices("c.png"))
    save_palette(folder, "SegmentationClass", "c", (boxes_as_indices("c.png") > 0) * 12)
    text = fault(folder, multiple="largest")
    assert "SegmentationObject/c.png: object 1 is 'dog'" in text
    assert "12, but 15 for 'dog' in a.png" in text


def test_difficult_objects_are_void_or_instances(folder: Path) -> None:
    hard = "<difficult>1</difficult>"
    rewrite(
        folder,
        voc_object("dog", (11, 6, 30, 25))
        + voc_object("dog", (31, 1, 60, 40), hard)
        + voc_object("person", (1, 1, 5, 5), hard),
    )
    valid, void = cell_pixels(load_voc(folder)["region"][0])
    assert valid.sum() == 400
    assert void is not None
    assert void.sum() == 30 * 40
    with pytest.raises(ManifestError, match=r"dog . person"):
        load_voc(folder, difficult="instance")
    rewrite(folder, voc_object("dog", (11, 6, 30, 25), hard))
    assert "only crowds or difficult objects" in fault(folder)


def test_polygons_in_the_file(folder: Path) -> None:
    corners = [(1, 1), (21, 1), (21, 21), (1, 21)]
    texts = "".join(f"<x{n}>{x}</x{n}><y{n}>{y}</y{n}>" for n, (x, y) in enumerate(corners, 1))
    good = voc_object("dog", (1, 1, 20, 20), f"<polygon>{texts}</polygon>")
    region = cell_pixels(load_voc(rewrite(folder, good))["region"][0])[0]
    expected = np.zeros(SIZE, bool)
    expected[:20, :20] = True
    np.testing.assert_array_equal(region, expected)
    bad = voc_object("dog", (1, 1, 20, 20), "<polygon><x1>1</x1><y1>1</y1><x2>5</x2></polygon>")
    assert "object 1: its polygon has an odd number" in fault(rewrite(folder, bad))
    two = voc_object("dog", (1, 1, 20, 20), "<polygon><x1>1</x1><y1>1</y1><x2>5</x2><y2>5</y2></polygon>")
    assert "a.xml, object 1 (dog): a polygon has 2 corner(s)" in fault(rewrite(folder, two))


def test_splits_come_from_the_image_sets(folder: Path) -> None:
    sets = folder / "ImageSets" / "Main"
    sets.mkdir(parents=True)
    (sets / "train.txt").write_text("a\n")
    (sets / "val.txt").write_text("b\n")
    (sets / "trainval.txt").write_text("a\nb\n")
    (sets / "dog_train.txt").write_text("a  1\n")
    assert load_voc(folder)["split"].tolist() == ["train", "validation", ""]
    (sets / "test.txt").write_text("a\n")
    assert "test.txt: 'a' is in split 'train' already" in fault(folder)


def test_images_without_annotation_are_passed_over(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_picture(folder / "JPEGImages" / "bare.png", 1, SIZE)
    assert len(load_voc(folder)) == 3
    assert "1 image(s) have no XML file" in caplog.text


def test_a_size_of_nothing_is_read_from_the_image(folder: Path) -> None:
    rewrite(folder, voc_object("dog", (11, 6, 30, 25)), size=(0, 0))
    assert cell_pixels(load_voc(folder)["region"][0])[0].shape == SIZE


@pytest.mark.parametrize(
    ("objects", "what"),
    [
        (voc_object("", (1, 1, 5, 5)), "object 1: it has no <name>"),
        (voc_object("dog", (9, 1, 5, 5)), "object 1 (dog): its box [9.0, 1.0, 5.0, 5.0] is inverted"),
        (voc_object("dog", (-9, 1, 5, 5)), "object 1 (dog): the box"),
        (voc_object("dog", (1, 1, 65, 5)), "outside the image of 60x40"),
        (voc_object("dog", (1, "nan", 5, 5)), "object 1 (dog): its box"),
        (voc_object("dog", (1, "x", 5, 5)), "object 1 (dog): <ymin> is no number ('x')"),
        ("<object><name>dog</name></object>", "object 1 (dog): <xmin> is missing"),
    ],
)
def test_bad_objects_are_named(folder: Path, objects: str, what: str) -> None:
    text = fault(rewrite(folder, objects))
    assert text.startswith(str(folder / "Annotations" / "a.xml"))
    assert what in text


def test_several_faults_of_several_files(folder: Path) -> None:
    rewrite(folder, voc_object("dog", (9, 1, 5, 5)) + voc_object("", (1, 1, 5, 5)))
    rewrite(folder, voc_object("dog", (1, 1, 5, 90)), "b")
    with pytest.raises(ManifestError) as caught:
        load_voc(folder)
    assert len(caught.value.faults) == 2
    assert "inverted" in caught.value.faults[0]
    assert "no <name>" in caught.value.faults[0]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (
            voc_xml("a.png", voc_object("Zürich", (1, 1, 5, 5))).encode("latin-1"),
            "not XML, or in another encoding",
        ),
        (b"<annotation>", "not XML"),
        (b"<root/>", "its root is <root>"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>', "not XML"),
        (voc_xml("a.png", "", size=(-1, 4)).encode(), "<size> must hold positive whole pixels"),
        (voc_xml("a.png", "", size=("x", 4)).encode(), "<size> must hold"),  # type: ignore[arg-type]
    ],
)
def test_files_that_are_no_annotation(folder: Path, content: bytes, what: str) -> None:
    path = folder / "Annotations" / "a.xml"
    path.write_bytes(content)
    text = fault(folder)
    assert text.startswith(str(path))
    assert what in text


def test_utf16_is_read_where_the_file_says_so(folder: Path) -> None:
    xml = '<?xml version="1.0" encoding="utf-16"?>' + voc_xml("a.png", voc_object("hündin", (1, 1, 5, 5)))
    (folder / "Annotations" / "a.xml").write_bytes(xml.encode("utf-16"))
    assert load_voc(folder)["label"][0] == "hündin"


def test_an_image_of_two_files(folder: Path) -> None:
    (folder / "Annotations" / "z.xml").write_text(voc_xml("a.png", ""))
    assert "z.xml: its image" in fault(folder, empty_label="empty")


@pytest.mark.parametrize(
    ("indices", "what"),
    [
        (np.full(SIZE, 4), "holds index 4, but .* has 1 object"),
        (np.zeros((30, 30)), r"is 30x30 pixels \(width x height\), its image 60x40"),
    ],
)
def test_bad_masks_are_named(folder: Path, indices: np.ndarray, what: str) -> None:
    save_palette(folder, "SegmentationObject", "a", indices)
    with pytest.raises(ManifestError, match=what) as caught:
        load_voc(folder)
    assert "SegmentationObject/a.png" in str(caught.value)


def test_masks_of_colours_are_refused(folder: Path) -> None:
    save_picture(folder / "SegmentationObject" / "a.png", 1, SIZE)
    assert "holds colours (RGB), not indices" in fault(folder)
    (folder / "SegmentationObject" / "a.png").write_bytes(b"x")
    assert "cannot be read as an image" in fault(folder)


@pytest.mark.parametrize(("option", "value"), [("regions", "mask"), ("difficult", "viod")])
def test_options_without_meaning(folder: Path, option: str, value: str) -> None:
    with pytest.raises(InputError, match=f"`{option}` must be one of .*did you mean"):
        load_voc(folder, **{option: value})


def test_no_voc_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Annotations: no such folder"):
        load_voc(tmp_path)
    (tmp_path / "Annotations").mkdir()
    with pytest.raises(InputError, match="JPEGImages: no such folder"):
        load_voc(tmp_path)
    (tmp_path / "JPEGImages").mkdir()
    with pytest.raises(ManifestError, match="no XML files"):
        load_voc(tmp_path)
