"""One Pascal VOC annotation file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from camgate.data.formats.instances import Choice, Instance
from camgate.data.formats.reading import Size, need
from camgate.data.formats.shapes import box_runs, polygon_runs
from camgate.errors import InputError

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True, slots=True)
class VocObject:
    """An `<object>`: its number from 1, category, corners in pixels, polygons and whether it is difficult."""

    number: int
    category: str
    corners: list[float]
    polygons: list[list[float]]
    difficult: bool


@dataclass(frozen=True, slots=True)
class VocFile:
    """An annotation file; `objects` is filled by `parse_voc`."""

    path: Path
    root: Any
    filename: str
    size: Size | None
    objects: tuple[VocObject, ...] = ()

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read what stands at the top of the file.

        Raises:
            ValueError: no XML, or a size that is none.
        """
        try:
            root = need("defusedxml.ElementTree").parse(str(path)).getroot()
        except InputError:
            raise
        except OSError as error:
            raise ValueError(f"cannot be read ({error.strerror})") from error
        except Exception as error:  # defusedxml raises its own kinds beside ElementTree's
            raise ValueError(f"not XML, or in another encoding than it states ({error})") from error
        if root.tag != "annotation":
            raise ValueError(f"no VOC annotation; its root is <{root.tag}>, not <annotation>")
        return cls(path, root, (root.findtext("filename") or "").strip(), _size(root))

    def boxes(self, size: Size, choice: Choice, difficult_aside: bool, faults: list[str]) -> list[Instance]:
        """Instances by polygon, or by box where there is none."""
        instances = []
        for one in self.objects:
            if not choice.counts(one.category):
                continue
            try:
                runs = polygon_runs(one.polygons, size) if one.polygons else box_runs(one.corners, size)
            except ValueError as error:
                faults.append(f"{self.path}, object {one.number} ({one.category}): {error}")
                continue
            aside = one.difficult and difficult_aside
            instances.append(Instance(str(one.number), one.category, runs, aside))
        return instances


def parse_voc(path: Path) -> VocFile:
    """Read an annotation file and its objects.

    supervision turns VOC's corners (counted from 1, the last pixel included) into pixels; what it would pass
    over silently is refused before: it swaps the corners of an inverted box.

    Raises:
        ValueError: any fault; all faults of the file in one text.
    """
    file = VocFile.open(path)
    elements = file.root.findall("object")
    faults = [fault for number, element in enumerate(elements, 1) for fault in _faults(number, element)]
    if faults:
        raise ValueError("; ".join(faults))
    voc = need("supervision.dataset.formats.pascal_voc")
    polygons = []
    for number, element in enumerate(elements, 1):
        parts = element.findall("polygon")
        try:
            polygons.append([(voc.parse_polygon_points(part) - 1).ravel().tolist() for part in parts])
        except (ValueError, IndexError) as error:
            raise ValueError(
                f"object {number}: its polygon has an odd number of values, or one that is no number "
                f"({error})"
            ) from error
        for part in parts:
            # supervision would make a dense mask of each object, by a rasteriser that is not COCO's.
            element.remove(part)
    found, names = voc.detections_from_xml_obj(file.root, [], (1, 1))
    objects = tuple(
        VocObject(
            number,
            names[class_id].strip(),
            [float(value) for value in corners],
            outlines,
            (element.findtext("difficult") or "0").strip() == "1",
        )
        for number, (class_id, corners, outlines, element) in enumerate(
            zip(found.class_id, found.xyxy, polygons, elements, strict=True), 1
        )
    )
    return VocFile(path, file.root, file.filename, file.size, objects)


def _size(root: Any) -> Size | None:
    """The stated size; None where there is none or it is 0 x 0, which some tools write."""
    texts = [(root.findtext(f"size/{side}") or "0").strip() for side in ("height", "width")]
    try:
        height, width = (int(text) for text in texts)
    except ValueError:
        height = width = -1
    if height == 0 and width == 0:
        return None
    if height <= 0 or width <= 0:
        raise ValueError(f"<size> must hold positive whole pixels, not height {texts[0]}, width {texts[1]}")
    return height, width


def _faults(number: int, element: Any) -> Iterator[str]:
    name = (element.findtext("name") or "").strip()
    where = f"object {number}{f' ({name})' if name else ''}"
    if not name:
        yield f"{where}: it has no <name>, so no category"
    corners = []
    for corner in _CORNERS:
        text = (element.findtext(f"bndbox/{corner}") or "").strip()
        try:
            corners.append(float(text))
        except ValueError:
            yield f"{where}: <{corner}> {'is missing' if not text else f'is no number ({text!r})'}"
            return
    if not all(map(math.isfinite, corners)):
        yield f"{where}: its box {corners} holds a value that is not a finite number"
    elif corners[2] < corners[0] or corners[3] < corners[1]:
        yield f"{where}: its box {corners} is inverted: it ends before it begins (xmin, ymin, xmax, ymax)"
