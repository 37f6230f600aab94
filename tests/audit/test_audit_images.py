"""Images by row number, kept in a bounded piece of memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from camgate.audit.causal import Images
from camgate.data.dataset import Sample
from camgate.data.preprocessing import Preprocessing

HEIGHT, WIDTH, ROWS = 5, 7, 12  # a mask of 35 pixels does not fill its last byte


class Pictures:
    """Stands in for an `ImageDataset`, and counts what is read."""

    preprocessing = Preprocessing(size=(HEIGHT, WIDTH), mean=(0.5, 0.5), std=(1, 1))

    def __init__(self) -> None:
        chance = torch.Generator().manual_seed(0)
        self.images = torch.randint(0, 256, (ROWS, 2, HEIGHT, WIDTH), dtype=torch.uint8, generator=chance)
        self.regions = torch.rand((ROWS, HEIGHT, WIDTH), generator=chance) > 0.5
        self.voids = torch.rand((ROWS, HEIGHT, WIDTH), generator=chance) > 0.8
        self.read: list[int] = []

    def __len__(self) -> int:
        return ROWS

    def void(self, row: int) -> Tensor | None:
        return self.voids[row] if row % 2 else None

    def __getitem__(self, row: int) -> Sample:
        self.read.append(row)
        return Sample(row, self.images[row], self.regions[row], True, 0, None, self.void(row))


@pytest.mark.parametrize("held", [0, 1, 3, ROWS, 10**6])
def test_a_view_is_the_image_however_many_are_kept(held: int) -> None:
    data = Pictures()
    images = Images(data, most_bytes=held * (HEIGHT * WIDTH * 2 + 2 * 5))  # type: ignore[arg-type]
    first = images(3)
    for row in np.random.default_rng(0).integers(0, ROWS, 200):
        view = images(int(row))
        np.testing.assert_array_equal(view.image, data.images[row].permute(1, 2, 0))
        np.testing.assert_array_equal(view.region, data.regions[row])
        void = data.void(int(row))
        expected = data.regions[row] if void is None else data.regions[row] | void
        np.testing.assert_array_equal(view.objects, expected)
    np.testing.assert_array_equal(first.image, data.images[3].permute(1, 2, 0))  # its place was given away
    assert images._held.nbytes <= max(held, 1) * (HEIGHT * WIDTH * 2 + 2 * 5)
    if held >= ROWS:
        assert len(data.read) == len(set(data.read))


def test_the_one_used_last_stays() -> None:
    data = Pictures()
    images = Images(data, most_bytes=2 * (HEIGHT * WIDTH * 2 + 2 * 5))  # type: ignore[arg-type]
    for row in (0, 1, 0, 2, 0, 1):
        images(row)
    assert data.read == [0, 1, 2, 1]
