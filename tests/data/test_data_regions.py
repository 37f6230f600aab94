"""Zones and regions against slow pixel-by-pixel definitions."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from data_pictures import SIZE, save_region
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from camgate.data.images import UnreadableImage
from camgate.data.regions import Zone, apply_zone, region_for, zones_from_json
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
