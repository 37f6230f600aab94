"""Boxes, polygons and run-length codes to pixels, as COCO's compressed codes.

Pixels are set by pycocotools, for all formats alike, so that the same polygon is the same region whatever
file it came in. (supervision's `polygon_to_mask` rounds corners and then fills with the outline: a square of
10 x 10 pixels becomes 11 x 11; there is a test.) pycocotools itself checks nothing: it decodes a code of the
wrong length into memory that it does not own. Every shape is therefore checked here first.

Errors are `ValueError`s that describe the shape; who calls adds the file and the entry.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camgate.data.formats.reading import Size, need
from camgate.data.rle import cell_pixels, decode_runs, encode_runs, rle_cell

OUTSIDE = 2.0
"""Pixels by which a corner may lie outside the image, for tools round differently; it is clipped."""

Runs = bytes
"""Compressed run-length code of a mask of a known size."""


def box_runs(corners: Sequence[float], size: Size) -> Runs:
    """Pixels of a box.

    Args:
        corners: x0, y0, x1, y1 in pixels, x1 and y1 exclusive.
        size: of the image.

    Raises:
        ValueError: not finite, inverted, without area, or outside the image.
    """
    x0, y0, x1, y1 = clipped = _clip(corners, size, "box")
    if x1 < x0 or y1 < y0:
        raise ValueError(f"the box {_shown(corners)} is inverted: it ends before it begins")
    if x1 == x0 or y1 == y0:
        raise ValueError(f"the box {_shown(corners)} has no area in the image")
    box = np.array([[clipped[0], clipped[1], x1 - x0, y1 - y0]])
    return bytes(_coco().frPyObjects(box, *size)[0]["counts"])


def polygon_runs(polygons: Sequence[Any], size: Size) -> Runs:
    """Pixels of an object that consists of one or several polygons.

    Args:
        polygons: each x0, y0, x1, y1, ... in pixels.
        size: of the image.

    Raises:
        ValueError: fewer than three corners, an odd number of values, not finite, or outside the image.
    """
    clipped = []
    for polygon in polygons:
        if not isinstance(polygon, list):
            raise ValueError(f"a polygon must be a list of numbers, not {polygon!r}")
        if len(polygon) % 2:
            raise ValueError(f"a polygon has an odd number of values ({len(polygon)}); x and y in turn")
        if len(polygon) < 6:
            raise ValueError(f"a polygon has {len(polygon) // 2} corner(s); at least 3 are needed")
        clipped.append(_clip(polygon, size, "polygon"))
    return union([bytes(part["counts"]) for part in _coco().frPyObjects(clipped, *size)], size)


def coded_runs(code: Mapping[str, Any], size: Size) -> Runs:
    """Pixels of a COCO run-length code, compressed (text) or not (a list).

    Raises:
        ValueError: another size than the image, or runs that do not fit it.
    """
    if code.get("size") != list(size):
        stated = code.get("size")
        raise ValueError(
            f"the run-length code is of size {stated} (height, width), the image of size {list(size)}"
        )
    counts = code.get("counts")
    if isinstance(counts, str):
        total = int(decode_runs(counts).sum())
    elif isinstance(counts, list) and all(type(run) is int and run >= 0 for run in counts):
        total = sum(counts)
    else:
        raise ValueError("`counts` of a run-length code must be text or a list of whole numbers, 0 or more")
    if total != size[0] * size[1]:
        raise ValueError(
            f"the run-length code covers {total} pixels, its image {size[1]}x{size[0]} has "
            f"{size[0] * size[1]}"
        )
    return (
        counts.encode("ascii")
        if isinstance(counts, str)
        else bytes(_coco().frPyObjects(dict(code), *size)["counts"])
    )


def mask_runs(mask: NDArray[np.bool_]) -> Runs:
    """The code of a mask `(H, W)`."""
    return bytes(_coco().encode(np.asfortranarray(mask.astype(np.uint8)))["counts"])


def union(parts: Sequence[Runs], size: Size) -> Runs:
    """Pixels of any of the parts; none for no part."""
    if not parts:
        return encode_runs([size[0] * size[1]]).encode("ascii")
    if len(parts) == 1:
        return parts[0]
    return bytes(_coco().merge([_object(part, size) for part in parts])["counts"])


def area(runs: Runs, size: Size) -> int:
    """Number of pixels."""
    return int(_coco().area(_object(runs, size)))


def bounds(runs: Runs, size: Size) -> tuple[int, int, int, int]:
    """Tight box x0, y0, x1, y1 in whole pixels, x1 and y1 exclusive."""
    x, y, width, height = (int(value) for value in _coco().toBbox(_object(runs, size)))
    return x, y, x + width, y + height


def cell(valid: Runs, void: Sequence[Runs], size: Size) -> str:
    """A manifest's region cell; a pixel that is valid for sure is not void."""
    if not void:
        return rle_cell(size, valid.decode("ascii"))
    unsure = _pixels(union(void, size), size) & ~_pixels(valid, size)
    if not unsure.any():
        return rle_cell(size, valid.decode("ascii"))
    return rle_cell(size, valid.decode("ascii"), mask_runs(unsure).decode("ascii"))


def _pixels(runs: Runs, size: Size) -> NDArray[np.bool_]:
    return cell_pixels(rle_cell(size, runs.decode("ascii")))[0]


def _object(runs: Runs, size: Size) -> dict[str, Any]:
    return {"size": list(size), "counts": runs}


def _clip(values: Sequence[float], size: Size, what: str) -> list[float]:
    height, width = size
    if not all(type(value) in (int, float) and math.isfinite(value) for value in values):
        raise ValueError(f"the {what} {_shown(values)} holds a value that is not a finite number")
    xs, ys = values[0::2], values[1::2]
    if min(xs) < -OUTSIDE or min(ys) < -OUTSIDE or max(xs) > width + OUTSIDE or max(ys) > height + OUTSIDE:
        raise ValueError(
            f"the {what} {_shown(values)} reaches outside the image of {width}x{height} pixels "
            f"(x {min(xs):g} to {max(xs):g}, y {min(ys):g} to {max(ys):g}; up to {OUTSIDE:g} pixels are "
            "clipped)"
        )
    clipped = [0.0] * len(values)
    clipped[0::2] = [min(max(float(x), 0.0), width) for x in xs]
    clipped[1::2] = [min(max(float(y), 0.0), height) for y in ys]
    return clipped


def _shown(values: Sequence[Any]) -> str:
    texts = [f"{value:g}" if type(value) in (int, float) else repr(value) for value in values[:8]]
    return f"[{', '.join(texts)}{', ...' if len(values) > 8 else ''}]"


def _coco() -> Any:
    return need("pycocotools.mask")
