"""Zones and regions against slow pixel-by-pixel definitions."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from data_pictures import SIZE, save_region
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from camgate.data.images import UnreadableImage
from camgate.data.regions import RegionRule, apply_region_rule, pixels_for, region_for
from camgate.data.rle import region_cell
from camgate.data.zones import Zone, apply_zone, zones_from_json
from camgate.errors import InputError

LEFT = [(0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)]
TOP = [(0.0, 0.0), (1.0, 0.0), (1.0, 0.25), (0.0, 0.25)]


def half(size: tuple[int, int] = SIZE) -> np.ndarray:
    region = np.zeros(size, dtype=bool)
    region[:, : size[1] // 2] = True
    return region


def winding_inside(x: float, y: float, polygon: list[tuple[float, float]]) -> bool:
    """Even-odd rule for one point: count the edges that a ray to the right crosses."""
    inside = False
    for (x0, y0), (x1, y1) in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        if (y0 > y) != (y1 > y) and x < x0 + (y - y0) * (x1 - x0) / (y1 - y0):
            inside = not inside
    return inside


corner = st.tuples(st.floats(0, 1, width=32), st.floats(0, 1, width=32))


@settings(max_examples=60, deadline=None)
@given(polygon=st.lists(corner, min_size=3, max_size=7), height=st.integers(1, 12), width=st.integers(1, 12))
def test_polygon_pixels(polygon: list[tuple[float, float]], height: int, width: int) -> None:
    expected = [
        [winding_inside((j + 0.5) / width, (i + 0.5) / height, polygon) for j in range(width)]
        for i in range(height)
    ]
    assert Zone(polygon=polygon).pixels((height, width)).tolist() == expected


def test_polygon_is_in_fractions_of_width_and_height() -> None:
    np.testing.assert_array_equal(Zone(polygon=LEFT).pixels((6, 10)), half((6, 10)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "either `polygon` or `mask`"),
        ({"polygon": LEFT, "mask": "m.png"}, "either `polygon` or `mask`"),
        ({"polygon": LEFT[:2]}, "at least 3 corners"),
        ({"polygon": [(0, 0), (640, 0), (640, 480)]}, "not pixels"),
        ({"polygon": [(0, 0), (float("nan"), 0), (1, 1)]}, "fractions"),
        ({"polygon": LEFT, "valide": False}, "valide"),
    ],
)
def test_impossible_zones(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Zone(**options)  # type: ignore[arg-type]


def test_neither_region_nor_zone() -> None:
    assert region_for({"image": "a.png"}, SIZE) is None
    assert region_for({"region": None, "zone": float("nan")}, SIZE) is None
    assert region_for({"region": "", "zone": " "}, SIZE) is None
    assert region_for({"region": pd.NA, "zone": None}, SIZE) is None


def _zone(zone: Zone) -> str:
    return str(apply_zone(pd.DataFrame({"image": ["a"]}), zone)["zone"][0])


def test_combinations(tmp_path: Path) -> None:
    mask = np.zeros(SIZE, dtype=bool)
    mask[:6, 4:12] = True
    region = str(save_region(tmp_path / "m.png", mask))
    top = np.zeros(SIZE, dtype=bool)
    top[:3] = True
    valid, invalid = _zone(Zone(polygon=LEFT)), _zone(Zone(polygon=TOP, valid=False))

    def check(row: dict[str, str], expected: np.ndarray) -> None:
        found = region_for(row, SIZE)
        assert found is not None
        assert found.dtype == np.bool_
        np.testing.assert_array_equal(found, expected)

    check({"region": region}, mask)
    check({"zone": valid}, half())
    check({"zone": invalid}, ~top)
    check({"region": region, "zone": valid}, mask & half())
    check({"region": region, "zone": invalid}, mask & ~top)
    both = str(apply_zone(pd.DataFrame({"zone": [valid]}), Zone(polygon=TOP, valid=False))["zone"][0])
    check({"zone": both}, half() & ~top)
    check({"region": region, "zone": both}, mask & half() & ~top)


def test_several_valid_zones_are_united(tmp_path: Path) -> None:
    right = [(1 - x, y) for x, y in LEFT]
    cell = apply_zone(pd.DataFrame({"image": ["a"]}), [Zone(polygon=LEFT), Zone(polygon=right)])["zone"][0]
    found = region_for({"zone": cell}, SIZE)
    assert found is not None
    assert found.all()


def test_mask_zone_follows_its_file(tmp_path: Path) -> None:
    path = save_region(tmp_path / "zone.png", half())
    cell = _zone(Zone(mask=path, valid=False))
    found = region_for({"zone": cell}, SIZE)
    np.testing.assert_array_equal(found, ~half())
    save_region(path, ~half())
    os.utime(path, (1, 1))
    np.testing.assert_array_equal(region_for({"zone": cell}, SIZE), half())


def test_the_cached_zone_cannot_be_changed_through_a_region() -> None:
    cell = _zone(Zone(polygon=LEFT))
    first = region_for({"zone": cell}, SIZE)
    assert first is not None
    first[:] = False
    np.testing.assert_array_equal(region_for({"zone": cell}, SIZE), half())


def test_mask_of_another_size_names_both(tmp_path: Path) -> None:
    path = save_region(tmp_path / "m.png", size=(9, 16))
    with pytest.raises(UnreadableImage, match=r"m\.png.*16x9.*16x12"):
        region_for({"region": str(path)}, SIZE)
    with pytest.raises(UnreadableImage, match=r"m\.png.*zone.*16x9.*16x12"):
        region_for({"zone": _zone(Zone(mask=path))}, SIZE)
    with pytest.raises(UnreadableImage, match=r"gone\.png"):
        region_for({"zone": _zone(Zone(mask=tmp_path / "gone.png"))}, SIZE)


def test_zones_survive_csv_and_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_region(tmp_path / "zone.png")
    frame = apply_zone(pd.DataFrame({"image": ["a", "b"]}), [Zone(polygon=LEFT), Zone(mask="zone.png")])
    frame.to_csv("m.csv")
    frame.to_parquet("m.parquet")
    for back in (pd.read_csv("m.csv"), pd.read_parquet("m.parquet")):
        polygon, mask = zones_from_json(back["zone"][1])
        assert polygon == Zone(polygon=LEFT)
        assert mask.mask == str(tmp_path / "zone.png"), "absolute, so that it holds from every folder"


def test_apply_zone_leaves_its_input_alone() -> None:
    frame = pd.DataFrame({"image": ["a"]}, index=[7])
    result = apply_zone(frame, Zone(polygon=LEFT))
    assert "zone" not in frame
    assert json.loads(result.loc[7, "zone"])["valid"] is True


@pytest.mark.parametrize("text", ["walkway", "{", "{}", "[1]", '{"polygon": [[0, 0], [9, 9], [1, 0]]}', "3"])
def test_text_that_is_no_zone(text: str) -> None:
    with pytest.raises(InputError, match="not"):
        zones_from_json(text)


def blob() -> np.ndarray:
    """A square of 20 x 20 pixels and, far from it, a line one pixel wide."""
    region = np.zeros((60, 80), dtype=bool)
    region[10:30, 10:30] = True
    region[50, 40:70] = True
    return region


def ruled(region: np.ndarray, zone: Zone | None = None, **rule: Any) -> np.ndarray:
    manifest = apply_region_rule(
        pd.DataFrame({"image": ["a.png"], "region": [region_cell(region)]}), RegionRule(**rule)
    )
    if zone is not None:
        manifest = apply_zone(manifest, zone)
    found = region_for(manifest.iloc[0].to_dict(), region.shape)
    assert found is not None
    return found


def test_grow_takes_every_pixel_within_the_distance() -> None:
    region = blob()
    own = np.argwhere(region)
    grown = ruled(region, grow=0.05)  # 3 of the 60 pixels of the shorter side
    for y, x in np.ndindex(*region.shape):
        assert grown[y, x] == (np.hypot(*(own - (y, x)).T).min() <= 3.0)


def test_shrink_takes_the_border_and_leaves_what_is_thin() -> None:
    shrunk = ruled(blob(), shrink=0.05)
    assert shrunk[13:27, 13:27].all()
    assert shrunk[:40].sum() == 14 * 14
    np.testing.assert_array_equal(shrunk[40:], blob()[40:])  # the line is thinner than the width: it stays
    assert not (shrunk & ~blob()).any()


def test_shrink_does_not_cut_at_the_border_of_the_image() -> None:
    region = np.zeros((60, 80), dtype=bool)
    region[20:, 20:50] = True
    assert ruled(region, shrink=0.05)[23:, 23:47].all()


def test_shrink_then_grow_and_nothing_from_nothing() -> None:
    assert ruled(blob(), shrink=0.05, grow=0.05)[12:28, 12:28].all()
    empty = np.zeros((60, 80), dtype=bool)
    assert not ruled(empty, shrink=0.1, grow=0.1).any()
    np.testing.assert_array_equal(ruled(blob()), blob())


@pytest.mark.parametrize(
    ("combine", "expected"),
    [
        ("both", lambda mask, zone: mask & zone),
        ("either", lambda mask, zone: mask | zone),
        ("mask", lambda mask, zone: mask),
        ("zone", lambda mask, zone: zone),
    ],
)
def test_mask_and_zone_are_combined(combine: str, expected: Any) -> None:
    region = np.zeros(SIZE, dtype=bool)
    region[2:9, 4:12] = True
    found = ruled(region, Zone(polygon=LEFT), combine=combine)
    np.testing.assert_array_equal(found, expected(region, half()))
    row = {"region": region_cell(region), "zone": json.dumps({"polygon": TOP, "valid": False})}
    without = region_for({**row, "region_rule": json.dumps({"combine": combine})}, SIZE)
    assert without is not None
    assert not without[:3].any()


def test_rule_alone_leaves_a_zone_without_mask() -> None:
    rule = json.dumps({"grow": 0.2, "combine": "mask"})
    row = {"region": None, "zone": json.dumps({"polygon": LEFT}), "region_rule": rule}
    found = region_for(row, SIZE)
    assert found is not None
    np.testing.assert_array_equal(found, half())


@pytest.mark.parametrize(
    "text", ['{"grow": -1}', '{"grow": "a lot"}', '{"swell": 1}', "3", "{", '{"combine": "xor"}']
)
def test_no_rule(text: str) -> None:
    with pytest.raises(InputError, match="not a region rule"):
        region_for({"region_rule": text}, SIZE)


def test_rule_in_words() -> None:
    assert RegionRule(shrink=0.01, grow=0.025, combine="either").in_words() == (
        "masks are shrunk by 1 % of the shorter side and then grown by 2.5 % of the shorter side; "
        "mask and zone are joined"
    )


def test_void_pixels_are_never_valid() -> None:
    void = np.zeros(SIZE, dtype=bool)
    void[:4] = True
    pixels = pixels_for({"region": region_cell(half(), void)}, SIZE)
    assert pixels.valid is not None
    assert pixels.void is not None
    np.testing.assert_array_equal(pixels.valid, half() & ~void)
    np.testing.assert_array_equal(pixels.void, void)
    grown = pixels_for({"region": region_cell(half(), void), "region_rule": '{"grow": 0.5}'}, SIZE)
    assert grown.valid is not None
    assert grown.void is not None
    assert not (grown.valid & grown.void).any()


def test_an_encoded_region_has_its_images_size() -> None:
    with pytest.raises(UnreadableImage, match=r"16x12.*20x20"):
        region_for({"region": region_cell(half())}, (20, 20))
