"""`load_data` finds the reader of other people's annotations; real annotations in all three formats."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from annotated import BOXES, write_coco, write_voc, write_yolo, yolo_line
from PIL import Image

from camgate.data.formats.coco import load_coco
from camgate.data.formats.voc import load_voc
from camgate.data.formats.yolo import load_yolo
from camgate.data.rle import cell_pixels
from camgate.data.sources import load_data
from camgate.errors import InputError


@pytest.mark.parametrize("write", [write_coco, write_voc, write_yolo])
def test_load_data_recognises_the_format(tmp_path: Path, write: Callable[..., Path]) -> None:
    place = write(tmp_path, BOXES)
    assert load_data(place)["label"].tolist() == ["dog", "person", "dog"]
    manifest = load_data(place, options={"categories": ["dog"], "empty_label": "empty"})
    assert manifest["label"].tolist() == ["dog", "empty", "dog"]
    with pytest.raises(InputError, match=r"no option 'multple' for load_.*did you mean 'multiple'"):
        load_data(place, options={"multple": "drop"})


def test_load_data_takes_a_yaml_file_and_image_folders_in_options(tmp_path: Path) -> None:
    assert len(load_data(write_yolo(tmp_path / "yolo") / "data.yaml")) == 3
    file = write_coco(tmp_path / "coco").rename(tmp_path / "instances.json")
    assert len(load_data(file, options={"images": str(tmp_path / "coco")})) == 3


def test_options_that_the_layout_does_not_have(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("image,label\n")
    with pytest.raises(InputError, match=r"no option 'multiple' for load_manifest \(there are: zone\)"):
        load_data(tmp_path, options={"multiple": "drop"})


# --- photographs -----------------------------------------------------------------------------------

PEOPLE = {1: "person", 2: "bicycle", 18: "dog"}


def polygons_of(root: Path) -> dict[str, list[tuple[str, list[float]]]]:
    """Instances of the three categories in pixels, for images that have any."""
    images = {}
    for path in sorted((root / "polygons").glob("*.txt")):
        with Image.open(root / "images" / f"{path.stem}.jpg") as picture:
            width, height = picture.size
        instances = []
        for line in path.read_text().splitlines():
            number, *values = line.split()
            if int(number) in PEOPLE:
                scaled = [float(v) * (height if i % 2 else width) for i, v in enumerate(values)]
                instances.append((PEOPLE[int(number)], scaled))
        images[f"{path.stem}.jpg"] = instances
    return images


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    union = (first | second).sum()
    return 1.0 if not union else float((first & second).sum() / union)


@pytest.mark.photos
def test_real_annotations_are_the_same_regions_in_all_three_formats(
    photos_root: Path, tmp_path: Path
) -> None:
    root = photos_root / "coco_people"
    images = polygons_of(root)
    content: dict[str, list[dict[str, object]]] = {"images": [], "annotations": [], "categories": []}
    content["categories"] = [{"id": number, "name": name} for number, name in PEOPLE.items()]
    ids = {name: number for number, name in PEOPLE.items()}
    voc, yolo = tmp_path / "voc", tmp_path / "yolo"
    for folder in (voc / "Annotations", voc / "SegmentationObject", yolo / "labels"):
        folder.mkdir(parents=True)
    (voc / "JPEGImages").symlink_to(root / "images")
    (yolo / "images").symlink_to(root / "images")
    (yolo / "data.yaml").write_text(f"names: {json.dumps(PEOPLE)}\n")
    for number, (file, instances) in enumerate(images.items()):
        stem = Path(file).stem
        with Image.open(root / "images" / file) as picture:
            width, height = picture.size
        content["images"].append({"id": number, "file_name": file, "width": width, "height": height})
        lines = [yolo_line(ids[name], values, (height, width)) for name, values in instances]
        (yolo / "labels" / f"{stem}.txt").write_text("\n".join(lines))
        objects = ""
        for name, values in instances:
            entry = {"id": len(content["annotations"]), "image_id": number, "category_id": ids[name]}
            content["annotations"].append(entry | {"segmentation": [values]})
            points = np.array(values).reshape(-1, 2) + 1
            corners = "".join(f"<x{n}>{x}</x{n}><y{n}>{y}</y{n}>" for n, (x, y) in enumerate(points, 1))
            (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
            objects += (
                f"<object><name>{name}</name><polygon>{corners}</polygon><bndbox><xmin>{x0}</xmin>"
                f"<ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
            )
        (voc / "Annotations" / f"{stem}.xml").write_text(
            f"<annotation><filename>{file}</filename><size><width>{width}</width><height>{height}</height>"
            f"</size>{objects}</annotation>"
        )
    (tmp_path / "coco.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"images hold instances of several categories.*person"):
        load_coco(tmp_path / "coco.json", root / "images", empty_label="none")
    manifests: list[pd.DataFrame] = [
        load(place, *more, multiple="largest", empty_label="none").set_index("image_id")
        for load, place, more in (
            (load_coco, tmp_path / "coco.json", (root / "images",)),
            (load_voc, voc, ()),
            (load_yolo, yolo, ()),
        )
    ]
    coco = manifests[0]
    assert coco["label"].value_counts().to_dict().keys() == {"person", "bicycle", "dog", "none"}
    for other in manifests[1:]:
        other.index = [Path(name).name for name in other.index]
        assert other["label"].to_dict() == coco["label"].to_dict()
        for name in coco.index:
            first, second = (cell_pixels(frame.loc[name, "region"])[0] for frame in (coco, other))
            assert overlap(first, second) > 0.95, name
    crops = load_coco(tmp_path / "coco.json", root / "images", multiple="crop")
    assert len(crops) == sum(len(instances) for instances in images.values())
    assert crops["group"].nunique() == sum(1 for instances in images.values() if instances)
