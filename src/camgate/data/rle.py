"""A region in a manifest's cell: one line of JSON with COCO's compressed run-length code.

    {"counts": "<runs>", "size": [height, width], "void": "<runs of the void pixels>"}

Written in NumPy rather than by pycocotools, so that a manifest made with `camgate[formats]` is read
without it, and because pycocotools' decoder does not say that a code is broken.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camgate.errors import InputError

Mask = NDArray[np.bool_]

_LONGEST = 7
"""Characters of one run: 7 x 5 bits, enough for 2**34 pixels in one run."""


def is_region_cell(cell: Any) -> bool:
    """True for a cell that holds a region itself (text that starts with `{`), not a mask's path."""
    return isinstance(cell, str) and cell.lstrip().startswith("{")


def region_cell(valid: Mask, void: Mask | None = None) -> str:
    """Write a region as a manifest's cell.

    Args:
        valid: `(H, W)`, True = valid pixel.
        void: `(H, W)`, True = the pixel belongs to neither side; void wins over valid.

    Returns:
        One line of JSON; equal masks give equal text. A void mask without a pixel is left out.

    Raises:
        InputError: no two-dimensional mask, one without pixels, or two of different sizes.
    """
    for mask in (valid, void):
        if mask is not None and (mask.ndim != 2 or mask.size == 0 or mask.shape != valid.shape):
            sizes = f"{valid.shape}" if void is None else f"{valid.shape} and {void.shape}"
            raise InputError(f"a region needs masks of one size (height, width), not {sizes}.")
    size = (valid.shape[0], valid.shape[1])
    if void is None or not void.any():
        return rle_cell(size, encode_runs(_runs(valid)))
    return rle_cell(size, encode_runs(_runs(valid & ~void)), encode_runs(_runs(void)))


def rle_cell(size: tuple[int, int], counts: str, void_counts: str | None = None) -> str:
    """A manifest's cell from ready codes, which are taken as they are.

    Args:
        size: `(height, width)`.
        counts: compressed code of the valid pixels.
        void_counts: compressed code of the void pixels, or None.
    """
    cell: dict[str, Any] = {"size": [int(size[0]), int(size[1])], "counts": counts}
    if void_counts is not None:
        cell["void"] = void_counts
    return json.dumps(cell, sort_keys=True)


def cell_size(text: str) -> tuple[int, int]:
    """`(height, width)` of a region cell, without decoding its runs.

    Raises:
        InputError: no region cell.
    """
    return _parse(text)[0]


def cell_pixels(text: str) -> tuple[Mask, Mask | None]:
    """Read a region cell.

    Returns:
        Valid pixels and void pixels, each `(H, W)` bool; None where the cell names no void pixels. No
        pixel is both.

    Raises:
        InputError: broken JSON or code, a size that is not positive, or runs that do not sum up to it.
    """
    size, counts, void_counts = _parse(text)
    valid = _decode(counts, size, "counts")
    if void_counts is None:
        return valid, None
    void = _decode(void_counts, size, "void")
    return valid & ~void, void


def encode_runs(runs: Sequence[int]) -> str:
    """COCO's compressed code of run lengths: differences to the run before the last, five bits a letter.

    Args:
        runs: lengths column by column, invalid pixels first.
    """
    letters = []
    for position, run in enumerate(runs):
        rest = int(run) - (int(runs[position - 2]) if position > 2 else 0)
        more = True
        while more:
            bits = rest & 0x1F
            rest >>= 5
            more = rest != (-1 if bits & 0x10 else 0)
            letters.append(chr(48 + (bits | 0x20 if more else bits)))
    return "".join(letters)


def decode_runs(counts: str) -> NDArray[np.int64]:
    """Run lengths from COCO's compressed code.

    Raises:
        ValueError: not such a code (the text says why, without naming a file).
    """
    try:
        letters = np.frombuffer(counts.encode("ascii"), dtype=np.uint8).astype(np.int64) - 48
    except UnicodeEncodeError:
        raise ValueError("a letter that no run-length code holds") from None
    if not letters.size:
        raise ValueError("an empty run-length code")
    if letters.min() < 0 or letters.max() > 63:
        raise ValueError("a letter that no run-length code holds")
    ends = np.flatnonzero(letters < 32)
    if not ends.size or ends[-1] != letters.size - 1:
        raise ValueError("a run-length code that is cut off")
    lengths = np.diff(ends, prepend=-1)
    if lengths.max() > _LONGEST:
        raise ValueError("a run that is too long")
    starts = ends - lengths + 1
    place = np.arange(letters.size) - np.repeat(starts, lengths)
    values = np.add.reduceat((letters & 0x1F) << (5 * place), starts)
    negative = (letters[ends] & 0x10) != 0
    values[negative] -= np.int64(1) << (5 * lengths[negative])
    # From the fourth run on, the code holds differences to the run before the last.
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    if values.min() < 0:
        raise ValueError("a run of negative length")
    return values


def _runs(mask: Mask) -> list[int]:
    flat = mask.ravel(order="F").astype(bool)
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs: list[int] = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return [0, *runs] if flat[0] else runs


def _decode(counts: str, size: tuple[int, int], key: str) -> Mask:
    try:
        runs = decode_runs(counts)
    except ValueError as error:
        raise InputError(f"not a region: `{key}` holds {error}.") from error
    if int(runs.sum()) != size[0] * size[1]:
        raise InputError(
            f"not a region: the runs of `{key}` sum up to {int(runs.sum())} pixels, but its size "
            f"{size[0]}x{size[1]} (height x width) has {size[0] * size[1]}."
        )
    values = np.arange(runs.size) % 2 == 1
    return np.repeat(values, runs).reshape(size, order="F")


@lru_cache(maxsize=16)
def _parse(text: str) -> tuple[tuple[int, int], str, str | None]:
    shown = text if len(text) <= 80 else text[:77] + "..."
    try:
        cell = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"not a region: no JSON ({error}): {shown}") from error
    if not isinstance(cell, dict) or not {"size", "counts"} <= set(cell) <= {"size", "counts", "void"}:
        raise InputError(
            f"not a region: an object with `size`, `counts` and perhaps `void` is expected: {shown}"
        )
    size = cell["size"]
    if not (
        isinstance(size, list) and len(size) == 2 and all(type(side) is int and side > 0 for side in size)
    ):
        raise InputError(
            f"not a region: `size` must be [height, width] in positive whole pixels, not {size}: {shown}"
        )
    for key in ("counts", "void"):
        if key in cell and not isinstance(cell[key], str):
            raise InputError(
                f"not a region: `{key}` must be text, COCO's compressed run-length code: {shown}"
            )
    return (size[0], size[1]), cell["counts"], cell.get("void")
