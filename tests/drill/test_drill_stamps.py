"""Stamps: their size, where they may not be, and what a variant changes."""

from __future__ import annotations

import numpy as np
import pytest

from camgate.drill.stamps import KINDS, MOST_VARIANTS, Stamp, apply_stamp, free_corner, ink

SIDE = 96
LOCAL = [kind for kind in KINDS if kind != "cast"]


def pictures(count: int = 6, channels: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    images = rng.integers(60, 200, (count, SIDE, SIDE, channels), dtype=np.uint8)
    regions = np.zeros((count, SIDE, SIDE), dtype=bool)
    regions[:, 30:60, 30:60] = True
    return images, regions


def stamp(kind: str, area: float, variants: np.ndarray, channels: int = 3, **options: int) -> np.ndarray:
    images, regions = pictures(len(variants), channels)
    given = {"corner": 1, "seed": 3, **options}
    return apply_stamp(Stamp(kind, area), images, regions, variants, **given)


@pytest.mark.parametrize("kind", LOCAL)
@pytest.mark.parametrize("area", [0.005, 0.02, 0.10])
def test_a_stamp_has_the_area_it_is_said_to_have(kind: str, area: float) -> None:
    images, _ = pictures()
    changed = (stamp(kind, area, np.arange(6)) != images).any(axis=3)
    box = np.array([np.ptp(np.nonzero(one)[0]) + 1 for one in changed])
    across = np.array([np.ptp(np.nonzero(one)[1]) + 1 for one in changed])
    found = changed.mean(axis=(1, 2)) if kind == "frame" else box * across / SIDE**2
    # Whole pixels: a frame of one pixel is 4 % of a small image. Letters may leave a margin in their box.
    smallest = 4 / SIDE if kind == "frame" else area
    assert (found <= 1.4 * max(area, smallest)).all()
    assert (found >= 0.4 * area).all()


@pytest.mark.parametrize("kind", LOCAL)
def test_valid_pixels_are_never_covered(kind: str) -> None:
    images, _ = pictures()
    regions = np.ones(images.shape[:3], dtype=bool)
    done = apply_stamp(Stamp(kind, 0.1), images, regions, np.arange(6), corner=0, seed=0)
    np.testing.assert_array_equal(done, images)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_variants_differ_and_the_same_one_is_the_same(kind: str, channels: int) -> None:
    first, again, other = (
        stamp(kind, 0.05, np.full(6, variant), channels) for variant in (0, 0, MOST_VARIANTS - 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any(axis=(1, 2, 3)).all()


def test_a_variant_changes_the_stamp_alone() -> None:
    one, two = (stamp("tag", 0.02, np.full(6, variant)) for variant in (0, 1))
    images, _ = pictures()
    touched = (one != images).any(axis=3) | (two != images).any(axis=3)
    assert (one == two).all(axis=3)[~touched].all()
    assert touched.mean() < 0.05


def test_inks_of_all_variants_can_be_told_apart() -> None:
    for channels in (1, 3):
        inks = np.array([ink(variant, channels) for variant in range(MOST_VARIANTS)], dtype=int)
        distance = np.abs(inks[:, None] - inks[None]).sum(axis=2) + 1000 * np.eye(MOST_VARIANTS, dtype=int)
        assert distance.min() >= 25


@pytest.mark.parametrize("taken", range(4))
def test_the_corner_that_is_free_is_taken(taken: int) -> None:
    regions = np.ones((3, SIDE, SIDE), dtype=bool)
    half = SIDE // 2
    rows = slice(0, half) if taken in (0, 1) else slice(half, SIDE)
    columns = slice(0, half) if taken in (0, 3) else slice(half, SIDE)
    regions[:, rows, columns] = False
    assert free_corner(regions, 0.05) == taken
