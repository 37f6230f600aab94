"""Pictures: sizes, dead maps, and that heat and outline appear where they belong."""

from __future__ import annotations

import numpy as np
import pytest

from camgate.heatmaps.overlays import LEAST_SIDE, colourise, outline, overlay, triptych

IMAGE = np.full((64, 48, 3), 128, dtype=np.uint8)


def test_heat_shows_where_it_is() -> None:
    heat = np.zeros((8, 6), dtype=np.float32)
    heat[6, 1] = 3.0
    drawn = overlay(IMAGE, heat).astype(int)
    changed = np.abs(drawn - overlay(IMAGE, np.zeros((8, 6))).astype(int)).sum(axis=2)
    assert changed[52, 12] > 60
    assert changed[8, 40] == 0


@pytest.mark.parametrize("heat", [np.zeros((4, 4)), np.full((4, 4), np.nan), np.full((4, 4), 1e-30)])
def test_dead_and_tiny_maps_can_be_drawn(heat: np.ndarray) -> None:
    assert triptych(IMAGE, heat, np.zeros((64, 48), dtype=bool)).dtype == np.uint8
    assert colourise(heat).shape == (4, 4, 3)


def test_triptych_is_three_pictures_side_by_side_and_large_enough_to_see() -> None:
    sheet = triptych(IMAGE, np.ones((8, 6)), np.zeros((64, 48), dtype=bool))
    assert min(sheet.shape[0], (sheet.shape[1] - 8) // 3) == LEAST_SIDE
    large = np.zeros((300, 400, 3), dtype=np.uint8)
    assert triptych(large, np.ones((8, 6)), np.zeros((300, 400), dtype=bool)).shape[0] == 300


def test_the_outline_follows_the_region_and_leaves_the_image_alone() -> None:
    region = np.zeros((64, 48), dtype=bool)
    region[20:40, 10:30] = True
    before = IMAGE.copy()
    drawn = outline(IMAGE, region)
    np.testing.assert_array_equal(IMAGE, before)
    assert (drawn[20, 10:30] == 255).all()
    assert (drawn[25:35, 15:25] == 128).all()
    assert (drawn[:10] == 128).all()
