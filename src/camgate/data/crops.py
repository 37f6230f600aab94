"""Windows of an image: several rows of a manifest may look at different parts of one picture."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from camgate.data.cells import as_text

_FORM = re.compile(r"(-?\d+)\s*,\s*(-?\d+)\s*,\s*(-?\d+)\s*,\s*(-?\d+)")


class Crop(NamedTuple):
    """A window in whole pixels of the upright image; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    def __str__(self) -> str:
        return f"{self.left},{self.top},{self.right},{self.bottom}"

    def of(self, array: NDArray[Any]) -> NDArray[Any]:
        """The window of an image or a mask `(H, W, ...)`; a view.

        Raises:
            ValueError: the window lies partly outside.
        """
        self.check(array.shape[:2])
        return np.asarray(array[self.top : self.bottom, self.left : self.right])

    def check(self, size: tuple[int, ...]) -> None:
        """Raise ValueError when the window lies partly outside an image of `size`, `(H, W)`."""
        if self.right > size[1] or self.bottom > size[0]:
            raise ValueError(f"the window {self} lies outside the image of {size[1]}x{size[0]} pixels")


def read_crop(cell: Any) -> Crop | None:
    """Read a `crop` cell, `left,top,right,bottom`; None for a blank one.

    Raises:
        ValueError: another form, or an empty window (the text says why, without row or column).
    """
    text = as_text(cell)
    if not text:
        return None
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no window; write left,top,right,bottom in whole pixels")
    crop = Crop(*(int(number) for number in found.groups()))
    if min(crop) < 0 or crop.left >= crop.right or crop.top >= crop.bottom:
        raise ValueError(f"the window {text!r} is empty, or begins outside the image")
    return crop
