"""The same annotated images as COCO, VOC and YOLO files, written by hand for the tests of the readers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data_pictures import save_picture

SIZE = (40, 60)  # height, width

Box = tuple[float, float, float, float]
Images = Mapping[str, Sequence[tuple[str, Any]]]
"""File name -> (category, box (x0, y0, x1, y1) or polygon [x, y, ...]) of each instance."""

BOXES: Images = {
    "a.png": [("dog", (10, 5, 30, 25))],
    "b.png": [("person", (0, 0, 20, 40)), ("person", (10, 10, 30, 30))],
    "c.png": [("dog", (40, 30, 60, 40))],
}


def write_coco(
    root: Path, images: Images = BOXES, *, pictures: bool = True, size: tuple[int, int] = SIZE
) -> Path:
    """`coco.json` with ids that have gaps, and the pictures beside it."""
    names = sorted({category for instances in images.values() for category, _ in instances})
    ids = {name: 1 + 17 * number for number, name in enumerate(names)}
    content: dict[str, Any] = {"images": [], "annotations": [], "categories": []}
    content["categories"] = [{"id": number, "name": name} for name, number in ids.items()]
    for number, (file, instances) in enumerate(images.items()):
        if pictures:
            save_picture(root / file, number, size)
        content["images"].append(
            {"id": 7 + 3 * number, "file_name": file, "height": size[0], "width": size[1]}
        )
        for category, shape in instances:
            entry = {
                "id": len(content["annotations"]) + 101,
                "image_id": 7 + 3 * number,
                "category_id": ids[category],
                "iscrowd": 0,
            }
            if len(shape) == 4:
                x0, y0, x1, y1 = shape
                entry["bbox"] = [x0, y0, x1 - x0, y1 - y0]
            else:
                entry["segmentation"] = [list(shape)]
            content["annotations"].append(entry)
    return dump(root / "coco.json", content)


def dump(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def change(path: Path, part: str, number: int, **values: Any) -> Path:
    """Change an entry of a COCO file; a value `...` takes the key away."""
    content = json.loads(path.read_text(encoding="utf-8"))
    for key, value in values.items():
        if value is ...:
            del content[part][number][key]
        else:
            content[part][number][key] = value
    return dump(path, content)


def voc_object(category: str, box: Sequence[Any], more: str = "") -> str:
    x0, y0, x1, y1 = box
    return (
        f"<object><name>{category}</name>{more}<bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax>"
        f"<ymax>{y1}</ymax></bndbox></object>"
    )


def voc_xml(file: str, objects: str, size: tuple[int, int] = SIZE) -> str:
    return (
        f"<annotation><filename>{file}</filename><size><width>{size[1]}</width><height>{size[0]}</height>"
        f"<depth>3</depth></size>{objects}</annotation>"
    )


def write_voc(root: Path, images: Images = BOXES, *, pictures: bool = True) -> Path:
    """Boxes only: corners count from 1 and the last pixel is included."""
    (root / "Annotations").mkdir(parents=True, exist_ok=True)
    for number, (file, instances) in enumerate(images.items()):
        if pictures:
            save_picture(root / "JPEGImages" / file, number, SIZE)
        objects = "".join(voc_object(name, (x0 + 1, y0 + 1, x1, y1)) for name, (x0, y0, x1, y1) in instances)
        path = root / "Annotations" / Path(file).with_suffix(".xml").name
        path.write_text(voc_xml(file, objects), encoding="utf-8")
    return root


def write_yolo(
    root: Path,
    images: Images = BOXES,
    *,
    split: str = "train",
    pictures: bool = True,
    size: tuple[int, int] = SIZE,
) -> Path:
    """`data.yaml`, `images/<split>`, `labels/<split>`; no label file for an image without instances."""
    names = sorted({category for instances in images.values() for category, _ in instances})
    (root / "labels" / split).mkdir(parents=True, exist_ok=True)
    for number, (file, instances) in enumerate(images.items()):
        if pictures:
            save_picture(root / "images" / split / file, number, size)
        lines = [yolo_line(names.index(category), shape, size) for category, shape in instances]
        if lines:
            label = root / "labels" / split / Path(file).with_suffix(".txt").name
            label.write_text("\n".join(lines) + "\n", encoding="utf-8")
    (root / "data.yaml").write_text(
        f"{split}: images/{split}\nnames: {json.dumps(names)}\n", encoding="utf-8"
    )
    return root


def yolo_line(number: int, shape: Sequence[float], size: tuple[int, int] = SIZE) -> str:
    height, width = size
    if len(shape) == 4:
        x0, y0, x1, y1 = shape
        values = [(x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height]
    else:
        values = [value / (height if place % 2 else width) for place, value in enumerate(shape)]
    return " ".join([str(number), *(f"{value:.8f}" for value in values)])
