"""Where the valid pixels are: a mask of the image, fixed zones of its camera, and a rule that joins them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from scipy.ndimage import distance_transform_edt, label, maximum

from camgate.data.cells import is_blank
from camgate.data.images import UnreadableImage, read_mask
from camgate.data.rle import cell_pixels, is_region_cell
from camgate.data.zones import zones_from_json
from camgate.errors import InputError

Region = NDArray[np.bool_]


class Pixels(NamedTuple):
    """Which side the pixels of one image are on; what is in neither mask is invalid.

    Attributes:
        valid: `(H, W)` bool; None when nothing says what is valid.
        void: `(H, W)` bool, pixels that belong to neither side and are never valid; None when there are none.
    """

    valid: Region | None
    void: Region | None


class RegionRule(BaseModel):
    """How a mask is changed, and joined with its camera's zones.

    Attributes:
        shrink: width by which the mask loses pixels all around, as a share of the image's shorter side. An
            object never vanishes: of one that is thinner, the innermost pixels stay.
        grow: width by which the mask then gains pixels, in the same units.
        combine: with valid zones, valid are the pixels in `both` mask and zone, in `either`, those of the
            `mask` alone or of the `zone` alone. Invalid zones take their pixels away in any case.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    shrink: float = Field(default=0.0, ge=0, le=0.5, allow_inf_nan=False)
    grow: float = Field(default=0.0, ge=0, le=0.5, allow_inf_nan=False)
    combine: Literal["both", "either", "mask", "zone"] = "both"

    def in_words(self) -> str:
        """What the rule does, for a report: `masks are grown by 2 % of the shorter side`."""
        parts = [
            f"{what} by {100 * share:g} % of the shorter side"
            for what, share in (("shrunk", self.shrink), ("grown", self.grow))
            if share
        ]
        words = f"masks are {' and then '.join(parts)}" if parts else ""
        joined = {
            "both": "",
            "either": "mask and zone are joined",
            "mask": "valid zones are left out",
            "zone": "masks are left out where there is a valid zone",
        }[self.combine]
        return "; ".join(text for text in (words, joined) if text) or "masks are taken as they are"


def apply_region_rule(manifest: pd.DataFrame, rule: RegionRule) -> pd.DataFrame:
    """Give every row of a manifest the same rule for its region; a rule that it has already is replaced.

    Args:
        manifest: any manifest; not changed.
        rule: how masks are changed and joined with zones.

    Returns:
        A copy whose column `region_rule` holds the rule as JSON text, which survives CSV and Parquet.
    """
    result = manifest.copy()
    text = json.dumps(rule.model_dump(exclude_defaults=True), sort_keys=True)
    result["region_rule"] = pd.Series([text] * len(result), index=result.index, dtype=object)
    return result


@lru_cache(maxsize=64)
def rule_from_json(text: str) -> RegionRule:
    """Read a `region_rule` cell; blank text is the default rule.

    Raises:
        InputError: no JSON, or no rule.
    """
    if not text.strip():
        return RegionRule()
    try:
        return RegionRule.model_validate_json(text)
    except ValidationError as error:
        reasons = "; ".join(f"{'.'.join(map(str, f['loc'])) or 'rule'}: {f['msg']}" for f in error.errors())
        raise InputError(f"not a region rule ({reasons}): {text}") from error


def pixels_for(row: Mapping[str, Any], size: tuple[int, int]) -> Pixels:
    """The valid and the void pixels of one image: its mask and its camera's zones, joined by its rule.

    Without a mask, valid zones alone are the region (several: their union). With a mask, the rule says how
    the two are joined; by default valid is what lies in both. Invalid zones take their pixels away: from the
    region, or from the whole image when nothing else says what is valid.

    Args:
        row: a manifest row; its `region`, `zone` and `region_rule` are read, all may be blank or absent.
        size: `(H, W)` of the upright image.

    Returns:
        Masks of that size.

    Raises:
        UnreadableImage: a mask cannot be read or has another size than the image.
        InputError: a cell's text is no region, no zone or no rule.
    """
    rule = rule_from_json(_text(row.get("region_rule")))
    region, void = _mask(_text(row.get("region")), size)
    if region is not None:
        region = _grown(_shrunk(region, rule.shrink), rule.grow)
    zones = zones_from_json(_text(row.get("zone")))
    inside = [zone.pixels(size) for zone in zones if zone.valid]
    outside = [zone.pixels(size) for zone in zones if not zone.valid]
    if inside and not (rule.combine == "mask" and region is not None):
        union = np.logical_or.reduce(inside)
        if region is None or rule.combine == "zone":
            region = union
        else:
            region = region | union if rule.combine == "either" else region & union
    if outside:
        whole = np.ones(size, dtype=bool) if region is None else region
        region = whole & ~np.logical_or.reduce(outside)
    if region is not None and void is not None:
        void = void & ~region
    return Pixels(region, void)


def region_for(row: Mapping[str, Any], size: tuple[int, int]) -> Region | None:
    """The valid pixels of one image, `(H, W)` bool; None when nothing says what is valid.

    See `pixels_for`.
    """
    return pixels_for(row, size).valid


def _mask(cell: str, size: tuple[int, int]) -> Pixels:
    if not cell:
        return Pixels(None, None)
    if is_region_cell(cell):
        region, void = cell_pixels(cell)
        name = "the region in the manifest"
    else:
        region, void = read_mask(cell), None
        name = f"{cell}: the region"
    if region.shape != size:
        raise UnreadableImage(
            f"{name} is {region.shape[1]}x{region.shape[0]} pixels (width x height), "
            f"its image {size[1]}x{size[0]}; a region has its upright image's size."
        )
    return Pixels(region, void)


def _shrunk(region: Region, share: float) -> Region:
    if not share or not region.any() or region.all():
        return region
    # Beyond the border the object is taken to go on: what is cut by the image's edge is not cut again.
    depth = distance_transform_edt(np.pad(region, 1, mode="edge"))[1:-1, 1:-1]
    objects, count = label(region, structure=np.ones((3, 3)))
    deepest = np.array([0.0, *maximum(depth, objects, np.arange(1, count + 1))])
    return np.asarray(region & (depth > np.minimum(share * min(region.shape), deepest[objects] - 1e-9)))


def _grown(region: Region, share: float) -> Region:
    if not share or not region.any():
        return region
    return np.asarray(distance_transform_edt(~region) <= share * min(region.shape))


def _text(cell: Any) -> str:
    return "" if is_blank(cell) else str(cell)
