"""Zones: the fixed valid or invalid parts of a camera's images."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from camgate.data.cells import is_blank
from camgate.data.images import UnreadableImage, read_mask
from camgate.errors import InputError

Region = NDArray[np.bool_]


class Zone(BaseModel):
    """A fixed part of every image of one camera: the walkway (valid), or a timestamp bar (invalid).

    Exactly one of `polygon` and `mask` is given.

    Attributes:
        polygon: at least three corners `(x, y)` as fractions of width and height, 0..1 from the upper
            left corner of the upright image. A pixel belongs to it when its centre does (even-odd rule).
        mask: mask file of the images' own size; non-zero pixels belong to the zone.
        valid: the zone's pixels are the valid ones (True), or are invalid (False).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    polygon: tuple[tuple[float, float], ...] | None = None
    mask: str | None = None
    valid: bool = True

    def __init__(
        self,
        *,
        polygon: Sequence[tuple[float, float]] | None = None,
        mask: str | os.PathLike[str] | None = None,
        valid: bool = True,
        **unknown: Any,
    ) -> None:
        super().__init__(
            polygon=polygon, mask=None if mask is None else os.fspath(mask), valid=valid, **unknown
        )

    @model_validator(mode="after")
    def _one_shape(self) -> Self:
        if (self.polygon is None) == (self.mask is None):
            raise ValueError("a zone needs either `polygon` or `mask`, not both and not neither")
        if self.polygon is not None:
            if len(self.polygon) < 3:
                raise ValueError(f"`polygon` needs at least 3 corners, got {len(self.polygon)}")
            if not all(0.0 <= value <= 1.0 for corner in self.polygon for value in corner):
                raise ValueError(
                    "`polygon` corners are fractions of width and height, 0 to 1, not pixels: "
                    f"got {[list(corner) for corner in self.polygon]}"
                )
        return self

    def pixels(self, size: tuple[int, int]) -> Region:
        """The zone's pixels in an image.

        Args:
            size: `(H, W)` of the upright image.

        Returns:
            `(H, W)` bool, True inside the zone (whether that is valid or not). Read-only.

        Raises:
            UnreadableImage: the mask cannot be read, or has another size.
        """
        if self.polygon is not None:
            return _polygon_pixels(self.polygon, size)
        mask = os.path.abspath(str(self.mask))
        try:
            stamp = os.stat(mask).st_mtime_ns
        except OSError as error:
            raise UnreadableImage(f"{mask}: the zone's mask cannot be read ({error.strerror}).") from error
        pixels = _mask_pixels(mask, stamp)
        if pixels.shape != size:
            raise UnreadableImage(
                f"{mask}: the zone's mask is {pixels.shape[1]}x{pixels.shape[0]} pixels (width x height), "
                f"the image {size[1]}x{size[0]}; give it the images' size, or use a polygon."
            )
        return pixels


def apply_zone(manifest: pd.DataFrame, zone: Zone | Sequence[Zone]) -> pd.DataFrame:
    """Give every row of a manifest a camera's zone, on top of zones that it has already.

    Args:
        manifest: any manifest; not changed.
        zone: one zone or several, e.g. a valid walkway and an invalid timestamp bar.

    Returns:
        A copy whose column `zone` holds the zones as JSON text, which survives CSV and Parquet.
    """
    zones = [zone] if isinstance(zone, Zone) else list(zone)
    added = [_portable(one) for one in zones]
    present = manifest["zone"].tolist() if "zone" in manifest else [None] * len(manifest)
    texts: dict[str, str] = {}
    column = []
    for cell in present:
        before = "" if is_blank(cell) else str(cell)
        if before not in texts:
            texts[before] = zones_to_json([*zones_from_json(before), *added])
        column.append(texts[before])
    result = manifest.copy()
    result["zone"] = pd.Series(column, index=result.index, dtype=object)
    return result


def zones_to_json(zones: Sequence[Zone]) -> str:
    """Zones as one line of JSON: an object for one zone, a list for several."""
    parts = [one.model_dump(mode="json", exclude_none=True) for one in zones]
    return json.dumps(parts[0] if len(parts) == 1 else parts, sort_keys=True)


@lru_cache(maxsize=256)
def zones_from_json(text: str, root: str | None = None) -> tuple[Zone, ...]:
    """Read a `zone` cell.

    Args:
        text: JSON as written by `zones_to_json`; blank text means no zone.
        root: folder that relative mask paths are taken from; None leaves them.

    Raises:
        InputError: no JSON, or no zone.
    """
    if not text.strip():
        return ()
    try:
        data = json.loads(text)
        parts = data if isinstance(data, list) else [data]
        zones = [Zone.model_validate(part) for part in parts]
    except ValidationError as error:
        reasons = "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or 'zone'}: {fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors()
        )
        raise InputError(f"not a zone ({reasons}): {text}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON ({error}): {text}") from error
    if root is None:
        return tuple(zones)
    return tuple(
        zone
        if zone.mask is None
        else Zone(mask=os.path.normpath(os.path.join(root, zone.mask)), valid=zone.valid)
        for zone in zones
    )


def _portable(zone: Zone) -> Zone:
    """The zone with its mask's path made absolute, so that it means the same from every folder."""
    return zone if zone.mask is None else Zone(mask=Path(zone.mask).absolute(), valid=zone.valid)


@lru_cache(maxsize=32)
def _polygon_pixels(polygon: tuple[tuple[float, float], ...], size: tuple[int, int]) -> Region:
    """Even-odd rule at pixel centres, all pixels at once, one edge after another."""
    height, width = size
    x = (np.arange(width) + 0.5) / width
    y = (np.arange(height) + 0.5) / height
    inside = np.zeros(size, dtype=bool)
    for (x0, y0), (x1, y1) in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        rows = np.flatnonzero((y0 > y) != (y1 > y))
        if rows.size:
            crossing = x0 + (y[rows] - y0) * (x1 - x0) / (y1 - y0)
            inside[rows] ^= x[None, :] < crossing[:, None]
    inside.flags.writeable = False  # shared by every caller through the cache
    return inside


@lru_cache(maxsize=32)
def _mask_pixels(path: str, stamp: int) -> Region:
    """A zone's mask, read once; `stamp` is the file's time of change, so that a new file is read anew."""
    pixels = read_mask(path)
    pixels.flags.writeable = False
    return pixels
