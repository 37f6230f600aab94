"""Many pictures on one sheet."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def contact_sheet(images: Sequence[np.ndarray], *, columns: int = 8, gap: int = 4) -> np.ndarray:
    """Lay pictures of one size out in rows.

    Args:
        images: uint8 `(H, W, 3)` each, at least one.
        columns: pictures in a row.
        gap: white pixels between them.

    Returns:
        uint8 `(H', W', 3)`.
    """
    height, width = images[0].shape[:2]
    rows = -(-len(images) // columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, dtype=np.uint8)
    for number, image in enumerate(images):
        top, left = (number // columns) * (height + gap), (number % columns) * (width + gap)
        sheet[top : top + height, left : left + width] = image
    return sheet
