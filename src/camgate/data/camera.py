"""Regions without annotation: what differs from the median of a fixed camera's images is the object."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from camgate.data.cells import as_text, is_blank
from camgate.data.images import read_image
from camgate.data.regions import Region
from camgate.data.rle import region_cell
from camgate.errors import InputError

_log = logging.getLogger(__name__)


class CameraRule(BaseModel):
    """How objects are told from a fixed camera's background.

    Lengths are in pixels of the images; areas are shares of the image's area.

    Attributes:
        threshold: grey levels (0..255) from the median, in any channel, that make a pixel foreground; the
            image's own change of brightness is taken off before.
        open: side of the square by which the foreground is opened, which removes noise; 0 leaves it.
        close: side of the square by which it is then closed, which joins the parts of an object; 0 leaves it.
        min_area: smaller connected pieces are dropped: noise, leaves, birds.
        max_area: larger ones too: a change of light, or a moved camera.
        images: so many images of each camera, spread evenly over its rows, make the median.
        empty: labels whose images have no object; whatever differs there is not a region.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    threshold: float = Field(default=20, gt=0, lt=255)
    open: int = Field(default=3, ge=0, le=99)
    close: int = Field(default=7, ge=0, le=99)
    min_area: float = Field(default=0.0005, ge=0, lt=1)
    max_area: float = Field(default=0.5, gt=0, le=1)
    images: int = Field(default=60, ge=3)
    empty: tuple[str, ...] = ()


def camera_regions(manifest: pd.DataFrame, rule: CameraRule | None = None) -> pd.DataFrame:
    """Fill in the regions of a fixed camera's images by their difference from its median.

    The median needs each place to be free of objects in more than half of the camera's images: with objects
    that stand still it shows them, and they are not found. Rows with a region keep theirs.

    Args:
        manifest: validated rows; a column `camera` tells several cameras apart, without it all images are
            of one.
        rule: thresholds and limits of size.

    Returns:
        A copy whose blank cells of `region` hold encoded regions, see `camgate.data.rle`. An image that
        cannot be read keeps its blank.

    Raises:
        InputError: fewer than 3 images of a camera, or images of one camera in several sizes; names the file.
    """
    rule = rule or CameraRule()
    result = manifest.reset_index(drop=True).copy()
    regions: list[object] = list(result["region"]) if "region" in result else [None] * len(result)
    cameras = [as_text(cell) for cell in result["camera"]] if "camera" in result else [""] * len(result)
    paths = [str(path) for path in result["image"]]
    found = 0
    for camera in sorted(set(cameras)):
        rows = [row for row, name in enumerate(cameras) if name == camera]
        wanted = [row for row in rows if is_blank(regions[row])]
        if not wanted:
            continue
        median = _median([paths[row] for row in rows], rule.images, camera)
        for row in wanted:
            region = _region_of(paths[row], median, rule, str(result.at[row, "label"]))
            if region is not None:
                regions[row] = region_cell(region)
                found += bool(region.any())
    result["region"] = pd.Series(regions, index=result.index, dtype=object)
    _log.info("regions from the camera's median: %d of %d images hold something", found, len(result))
    return result


def foreground(image: NDArray[np.uint8], median: NDArray[np.uint8], rule: CameraRule) -> Region:
    """The pixels of an image that differ from its camera's median.

    Args:
        image: `(H, W, C)` uint8.
        median: the same shape.
        rule: thresholds and limits of size.

    Returns:
        `(H, W)` bool.
    """
    change = image.astype(np.int16) - median
    change -= np.median(change, axis=(0, 1)).astype(np.int16)
    raw = (np.abs(change).max(axis=2) > rule.threshold).astype(np.uint8)
    for operation, side in ((cv2.MORPH_OPEN, rule.open), (cv2.MORPH_CLOSE, rule.close)):
        if side > 1:
            raw = np.asarray(cv2.morphologyEx(raw, operation, np.ones((side, side), np.uint8)), np.uint8)
    _, pieces, statistics, _ = cv2.connectedComponentsWithStats(raw)
    share = statistics[:, cv2.CC_STAT_AREA] / raw.size
    kept = (share >= rule.min_area) & (share <= rule.max_area)
    kept[0] = False  # the background
    return np.asarray(kept[pieces])


def _median(paths: Sequence[str], most: int, camera: str) -> NDArray[np.uint8]:
    where = f"camera {camera!r}" if camera else "the camera (there is no column `camera`)"
    chosen = [paths[i] for i in np.unique(np.linspace(0, len(paths) - 1, min(most, len(paths))).astype(int))]
    stack: list[NDArray[np.uint8]] = []
    for path in chosen:
        try:
            stack.append(read_image(path))
        except InputError as error:
            _log.warning("left out of the median of %s: %s", where, error)
            continue
        if stack[-1].shape != stack[0].shape:
            sizes = f"{_size(stack[-1])} pixels, but {where} has {_size(stack[0])}"
            raise InputError(f"{path}: {sizes}; {_ADVICE}")
    if len(stack) < 3:
        raise InputError(
            f"{where} has {len(stack)} readable image(s); a median that shows the background needs 3 at "
            "least, and better 20."
        )
    return np.asarray(np.median(np.stack(stack), axis=0), dtype=np.uint8)


def _region_of(path: str, median: NDArray[np.uint8], rule: CameraRule, label: str) -> Region | None:
    try:
        image = read_image(path)
    except InputError:
        return None  # counted as unreadable where it is decoded for the audit
    if image.shape != median.shape:
        raise InputError(f"{path}: {_size(image)} pixels, but its camera has {_size(median)}; {_ADVICE}")
    if label in rule.empty:
        return np.zeros(image.shape[:2], dtype=bool)
    return foreground(image, median, rule)


_ADVICE = "images of a fixed camera have one size: tell the cameras apart by a column `camera`."


def _size(image: NDArray[np.uint8]) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"
