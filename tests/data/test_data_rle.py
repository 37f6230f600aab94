"""Regions as text in a manifest's cell; pycocotools is the oracle."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco_mask

from camgate.data.rle import cell_pixels, cell_size, decode_runs, is_region_cell, region_cell, rle_cell
from camgate.errors import InputError

masks = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40))


def by_pycocotools(mask: np.ndarray) -> str:
    return coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode("ascii")


@given(masks)
def test_the_code_is_pycocotools_own(mask: np.ndarray) -> None:
    text = region_cell(mask)
    assert json.loads(text) == {"size": list(mask.shape), "counts": by_pycocotools(mask)}
    valid, void = cell_pixels(text)
    np.testing.assert_array_equal(valid, mask)
    assert void is None


@given(masks, st.integers(0, 2**32 - 1))
def test_void_pixels_survive_and_win(mask: np.ndarray, seed: int) -> None:
    void = np.random.default_rng(seed).random(mask.shape) < 0.3
    valid, read = cell_pixels(region_cell(mask, void))
    np.testing.assert_array_equal(valid, mask & ~void)
    if void.any():
        np.testing.assert_array_equal(read, void)
    else:
        assert read is None


def test_void_wins_in_cells_of_other_writers_too() -> None:
    mask = np.ones((3, 4), bool)
    valid, void = cell_pixels(rle_cell((3, 4), by_pycocotools(mask), by_pycocotools(mask)))
    assert void is not None
    assert void.all()
    assert not valid.any()


def test_a_large_region_with_long_runs() -> None:
    mask = np.zeros((3000, 4000), bool)
    mask[:, 1500:3900] = True
    mask[1000:1002, ::700] ^= True
    text = region_cell(mask)
    assert json.loads(text)["counts"] == by_pycocotools(mask)
    np.testing.assert_array_equal(cell_pixels(text)[0], mask)
    assert cell_size(text) == (3000, 4000)


def test_one_line_sorted_keys_and_equal_text_for_equal_masks() -> None:
    mask = np.eye(5, dtype=bool)
    text = region_cell(mask, ~mask)
    assert list(json.loads(text)) == ["counts", "size", "void"]
    assert "\n" not in text
    assert text == region_cell(mask.copy(order="F"), ~mask)


def test_what_is_a_region_cell() -> None:
    assert is_region_cell('{"size": [1, 1], "counts": "1"}')
    assert not is_region_cell("masks/{a}.png")
    assert not is_region_cell(None)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{", "no JSON"),
        ("{}", "`size`, `counts`"),
        ('{"size": [2, 2], "counts": "4", "viod": "4"}', "`size`, `counts`"),
        ('{"size": [0, 2], "counts": "0"}', "positive"),
        ('{"size": [2, -2], "counts": "4"}', "positive"),
        ('{"size": [2.0, 2], "counts": "4"}', "positive"),
        ('{"size": [true, 2], "counts": "2"}', "positive"),
        ('{"size": [2], "counts": "2"}', "positive"),
        ('{"size": [2, 2], "counts": [4]}', "must be text"),
        ('{"size": [2, 2], "counts": "5"}', "sum up to 5 pixels.*has 4"),
        ('{"size": [2, 2], "counts": "4", "void": "3"}', "`void` sum up to 3"),
        ('{"size": [2, 2], "counts": ""}', "empty"),
        ('{"size": [2, 2], "counts": "4 "}', "letter"),
        ('{"size": [2, 2], "counts": "4é"}', "letter"),
        ('{"size": [2, 2], "counts": "4P"}', "cut off"),
        ('{"size": [2, 2], "counts": "PPPPPPPPPPPPPP0"}', "too long"),
        ('{"size": [2, 2], "counts": "O5"}', "negative"),
    ],
)
def test_broken_cells_are_refused(text: str, what: str) -> None:
    with pytest.raises(InputError, match=what):
        cell_pixels(text)


@pytest.mark.parametrize("shape", [(4,), (0, 3), (2, 2, 1)])
def test_only_masks_of_one_size_are_written(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="one size"):
        region_cell(np.zeros(shape, bool))
    with pytest.raises(InputError, match="one size"):
        region_cell(np.zeros((4, 4), bool), np.zeros((4, 5), bool))


@given(st.text(max_size=12))
def test_no_text_breaks_the_decoder(text: str) -> None:
    try:
        runs = decode_runs(text)
    except ValueError:
        return
    assert (runs >= 0).all()
