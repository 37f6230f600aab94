"""Scores against slow oracles, and the properties that give them their meaning."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camgate.audit.scores import centre_map, grow, region_on_grid, score_maps, status_of


def slow_grid(region: np.ndarray, grid: tuple[int, int], fine: int = 840) -> np.ndarray:
    """Area averaging by brute force: paint the region on a fine canvas, then average blocks."""
    rows = np.arange(fine) * region.shape[0] // fine
    columns = np.arange(fine) * region.shape[1] // fine
    canvas = region[np.ix_(rows, columns)].astype(float)
    return canvas.reshape(grid[0], fine // grid[0], grid[1], fine // grid[1]).mean(axis=(1, 3))


def slow_activation(heat: np.ndarray, region: np.ndarray, tolerance: int) -> float:
    """Arras 2022, cell by cell: mass on invalid cells over all mass."""
    height, width = heat.shape
    valid = slow_grid(region, heat.shape)
    invalid = 0.0
    for y in range(height):
        for x in range(width):
            if tolerance == 0:
                share = 1 - valid[y, x]
            else:
                near = valid[
                    max(0, y - tolerance) : y + tolerance + 1, max(0, x - tolerance) : x + tolerance + 1
                ]
                share = 0.0 if (near > 0).any() else 1.0
            invalid += heat[y, x] * share
    return invalid / heat.sum()


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    seed = draw(st.integers(0, 2**31))
    rng = np.random.default_rng(seed)
    grid = draw(st.sampled_from([(4, 4), (7, 7), (8, 6), (5, 8)]))
    # Sides that divide 840, so that the oracle's canvas is exact.
    size = draw(st.sampled_from([(28, 28), (35, 42), (56, 40), (24, 30)]))
    heat = rng.random(grid) * (rng.random(grid) < 0.7)
    region = np.zeros(size, dtype=bool)
    y, x = rng.integers(0, size[0]), rng.integers(0, size[1])
    region[y : y + rng.integers(1, 20), x : x + rng.integers(1, 20)] = True
    return heat, region


@given(cases(), st.integers(0, 2))
@settings(deadline=None, max_examples=80)
def test_invalid_activation_equals_the_oracle(case: tuple[np.ndarray, np.ndarray], tolerance: int) -> None:
    heat, region = case
    if not heat.any():
        return
    scored = score_maps(heat[None], region[None], tolerance=tolerance)
    assert scored.invalid_activation[0] == pytest.approx(slow_activation(heat, region, tolerance), abs=1e-9)


def slow_activation_with_void(
    heat: np.ndarray, region: np.ndarray, void: np.ndarray, tolerance: int
) -> tuple[float, float]:
    """The same where void pixels count on neither side; also what a uniform map scores."""
    valid, kept = slow_grid(region, heat.shape), 1 - slow_grid(void, heat.shape)
    invalid = np.zeros(heat.shape)
    for y, x in np.ndindex(*heat.shape):
        near = valid[max(0, y - tolerance) : y + tolerance + 1, max(0, x - tolerance) : x + tolerance + 1]
        if tolerance == 0:
            invalid[y, x] = kept[y, x] - valid[y, x]
        elif not (near > 0).any():
            invalid[y, x] = kept[y, x]
    return (heat * invalid).sum() / (heat * kept).sum(), invalid.sum() / kept.sum()


@given(cases(), st.integers(0, 2), st.integers(0, 2**31))
@settings(deadline=None, max_examples=60)
def test_void_pixels_belong_to_neither_side(
    case: tuple[np.ndarray, np.ndarray], tolerance: int, seed: int
) -> None:
    heat, region = case
    rng = np.random.default_rng(seed)
    void = np.zeros_like(region)
    y, x = rng.integers(0, region.shape[0]), rng.integers(0, region.shape[1])
    void[y : y + rng.integers(1, 25), x : x + rng.integers(1, 25)] = True
    void &= ~region
    scored = score_maps(heat[None], region[None], void[None], tolerance=tolerance)
    if not (heat * (1 - slow_grid(void, heat.shape))).any():
        assert scored.dead[0]
        return
    activation, area = slow_activation_with_void(heat, region, void, tolerance)
    assert scored.invalid_activation[0] == pytest.approx(activation, abs=1e-9)
    assert scored.invalid_area[0] == pytest.approx(area, abs=1e-9)


def test_heat_and_peak_on_void_pixels_count_for_nothing() -> None:
    heat = np.zeros((1, 4, 4))
    heat[0, 0, 0], heat[0, 3, 3] = 100.0, 1.0
    region, void = np.zeros((2, 1, 8, 8), dtype=bool)
    region[0, 6:, 6:], void[0, :2, :2] = True, True
    plain, scored = score_maps(heat, region), score_maps(heat, region, void)
    assert (plain.peak_invalid[0], scored.peak_invalid[0]) == (1.0, 0.0)
    assert plain.invalid_activation[0] == pytest.approx(100 / 101)
    assert scored.invalid_activation[0] == 0.0
    heat[0, 3, 3] = 0
    assert score_maps(heat, region, void).dead[0]


@given(cases(), st.sampled_from(["flip", "flop", "transpose"]), st.integers(0, 1))
@settings(deadline=None, max_examples=60)
def test_turning_image_and_region_together_changes_no_score(
    case: tuple[np.ndarray, np.ndarray], turn: str, tolerance: int
) -> None:
    move = {"flip": np.flipud, "flop": np.fliplr, "transpose": np.transpose}[turn]
    heat, region = case
    plain = score_maps(heat[None], region[None], tolerance=tolerance)
    turned = score_maps(move(heat)[None], move(region)[None], tolerance=tolerance)
    for name in ("invalid_activation", "invalid_area", "invalid_lift", "peak_invalid"):
        np.testing.assert_allclose(getattr(turned, name), getattr(plain, name), atol=1e-9)


@given(cases(), st.integers(0, 3), st.integers(0, 3), st.integers(0, 2))
@settings(deadline=None, max_examples=60)
def test_padding_with_what_nobody_looks_at_changes_no_share_and_cropping_it_gives_the_scores_back(
    case: tuple[np.ndarray, np.ndarray], before: int, after: int, tolerance: int
) -> None:
    heat, region = case
    if not heat.any():
        return
    rows, columns = heat.shape
    # One cell of map is so many pixels; the pad is whole cells, and cold.
    region = np.kron(slow_grid(region, heat.shape) > 0, np.ones((5, 5), dtype=bool))
    wide = np.pad(heat, ((before, after), (after, before)))
    wide_region = np.pad(region, ((5 * before, 5 * after), (5 * after, 5 * before)))
    plain = score_maps(heat[None], region[None], tolerance=tolerance)
    padded = score_maps(wide[None], wide_region[None], tolerance=tolerance)
    assert padded.invalid_activation[0] == pytest.approx(plain.invalid_activation[0], abs=1e-9)
    assert padded.peak_invalid[0] == pytest.approx(plain.peak_invalid[0], abs=1e-9)
    down, right = slice(before, before + rows), slice(after, after + columns)
    pixels = tuple(slice(5 * side.start, 5 * side.stop) for side in (down, right))
    cropped = score_maps(wide[down, right][None], wide_region[pixels][None], tolerance=tolerance)
    for name in ("invalid_activation", "invalid_area", "invalid_lift", "peak_invalid"):
        np.testing.assert_array_equal(getattr(cropped, name), getattr(plain, name))


@given(cases())
@settings(deadline=None, max_examples=40)
def test_score_does_not_depend_on_the_batch_or_on_the_scale_of_the_map(
    case: tuple[np.ndarray, np.ndarray],
) -> None:
    heat, region = case
    rng = np.random.default_rng(0)
    maps = np.stack([heat, rng.random(heat.shape), heat * 1e-30, heat * 1e30])
    together = score_maps(maps, np.stack([region] * 4))
    alone = score_maps(heat[None], region[None])
    for row in (0, 2, 3):
        np.testing.assert_allclose(together.invalid_activation[row], alone.invalid_activation[0], rtol=1e-9)


def test_a_uniform_map_scores_the_invalid_area_and_lift_one() -> None:
    region = np.zeros((1, 64, 64), dtype=bool)
    region[0, 8:24, 16:40] = True
    scored = score_maps(np.ones((1, 8, 8)), region)
    assert scored.invalid_activation[0] == pytest.approx(scored.invalid_area[0])
    assert scored.invalid_lift[0] == pytest.approx(1.0)
    # rows 1-2, columns 2-4 of cells, grown by one: 4 x 5 of 64 are valid
    assert scored.invalid_area[0] == pytest.approx(1 - 20 / 64)
    assert scored.invalid_area_raw[0] == pytest.approx(1 - 6 / 64)


def test_all_mass_inside_or_outside() -> None:
    region = np.zeros((2, 64, 64), dtype=bool)
    region[:, :16, :16] = True
    maps = np.zeros((2, 8, 8))
    maps[0, 1, 1] = 5.0
    maps[1, 6, 6] = 5.0
    scored = score_maps(maps, region)
    assert scored.invalid_activation.tolist() == [0.0, 1.0]
    assert scored.peak_invalid.tolist() == [0.0, 1.0]


def test_peak_ties_average_and_a_partly_valid_cell_is_valid() -> None:
    region = np.zeros((1, 64, 64), dtype=bool)
    region[0, 0, 0] = True
    maps = np.zeros((1, 8, 8))
    maps[0, 0, 0] = maps[0, 7, 7] = 1.0
    assert score_maps(maps, region, tolerance=0).peak_invalid[0] == pytest.approx(0.5)


@pytest.mark.parametrize("fill", [0.0, np.nan])
def test_a_dead_map_has_no_score(fill: float) -> None:
    region = np.ones((1, 8, 8), dtype=bool)
    scored = score_maps(np.full((1, 4, 4), fill), region)
    assert scored.dead[0]
    assert np.isnan(scored.invalid_activation[0])
    assert np.isnan(scored.peak_invalid[0])


def test_one_nan_makes_a_map_dead() -> None:
    maps = np.ones((1, 4, 4))
    maps[0, 2, 2] = np.nan
    assert score_maps(maps, np.ones((1, 8, 8), dtype=bool)).dead[0]


def test_lift_is_nan_where_nothing_is_invalid() -> None:
    scored = score_maps(np.ones((1, 4, 4)), np.ones((1, 8, 8), dtype=bool))
    assert scored.invalid_activation[0] == 0.0
    assert np.isnan(scored.invalid_lift[0])


def test_below_resolution_is_less_than_one_cell() -> None:
    regions = np.zeros((2, 64, 64), dtype=bool)
    regions[0, :7, :9] = True  # 63 pixels, a cell has 64
    regions[1, 4:12, 4:12] = True  # 64 pixels over four cells
    assert score_maps(np.ones((2, 8, 8)), regions).below_resolution.tolist() == [True, False]


def test_negative_maps_and_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        score_maps(-np.ones((1, 4, 4)), np.ones((1, 8, 8), dtype=bool))
    with pytest.raises(ValueError, match="must be"):
        score_maps(np.ones((2, 4, 4)), np.ones((1, 8, 8), dtype=bool))


@given(st.integers(3, 50), st.integers(3, 50), st.integers(2, 9), st.integers(2, 9), st.integers(0, 2**31))
@settings(deadline=None, max_examples=60)
def test_averaging_onto_the_grid_keeps_the_area(h: int, w: int, gh: int, gw: int, seed: int) -> None:
    region = np.random.default_rng(seed).random((1, h, w)) < 0.4
    assert region_on_grid(region, (gh, gw)).mean() == pytest.approx(region.mean(), abs=1e-9)


@pytest.mark.parametrize("cell", [1, 3, 300])
def test_cells_of_whole_pixels_are_counted_to_the_same_share(cell: int) -> None:
    region = np.random.default_rng(cell).random((2, 2 * cell, 3 * cell)) < 0.9
    slow = region.reshape(2, 2, cell, 3, cell).mean(axis=(2, 4))
    np.testing.assert_allclose(region_on_grid(region, (2, 3)), slow, atol=1e-12)


def test_growing_never_shrinks_and_zero_leaves_shares() -> None:
    valid = np.random.default_rng(1).random((3, 6, 6)) * (np.random.default_rng(2).random((3, 6, 6)) < 0.2)
    assert np.array_equal(grow(valid, 0), valid)
    assert (grow(valid, 1) >= (valid > 0)).all()
    assert (grow(valid, 2) >= grow(valid, 1)).all()


def test_centre_map_peaks_in_the_middle_and_is_symmetric() -> None:
    heat = centre_map((7, 9))
    assert np.unravel_index(heat.argmax(), heat.shape) == (3, 4)
    np.testing.assert_allclose(heat, heat[::-1, ::-1])
    # one sigma (a quarter of the side) away from the centre, along one axis
    assert centre_map((8, 9))[3, 4] / centre_map((8, 9))[5, 4] == pytest.approx(
        np.exp((1.5**2 - 0.5**2) / (2 * 4))
    )


def test_status_precedence() -> None:
    every = {"readable": False, "has_region": False, "below_resolution": True, "dead": True}
    assert status_of(**every) == "unreadable"
    assert status_of(**{**every, "readable": True}) == "no_region"
    assert status_of(**{**every, "readable": True, "has_region": True}) == "below_resolution"
    assert status_of(readable=True, has_region=True, below_resolution=False, dead=True) == "dead_map"
    assert status_of(readable=True, has_region=True, below_resolution=False, dead=False) == "ok"
