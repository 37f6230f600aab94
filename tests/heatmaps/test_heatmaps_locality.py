"""Cells that speak of their own pixels, and cells that have mixed what the whole image says."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from camgate import Classifier, Preprocessing
from camgate.heatmaps.layers import LEAST_LOCAL, choose_layer
from camgate.heatmaps.locality import locality

SIDE, CELLS = 64, 8
IMAGES = torch.randint(
    0, 256, (24, 3, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
)


class Mixing(nn.Module):
    """Every cell gets the mean of all cells, and keeps `own` of itself."""

    def __init__(self, own: float) -> None:
        super().__init__()
        self.own = own

    def forward(self, x: Tensor) -> Tensor:
        return self.own * x + x.mean(dim=(2, 3), keepdim=True)


def net(own: float | None) -> Classifier:
    torch.manual_seed(0)
    module = nn.Sequential()
    module.add_module("stem", nn.Conv2d(3, 8, SIDE // CELLS, SIDE // CELLS))
    module.add_module("relu", nn.ReLU())
    if own is not None:
        module.add_module("mixing", Mixing(own))
    module.add_module("pool", nn.AdaptiveAvgPool2d(1))
    module.add_module("flatten", nn.Flatten())
    module.add_module("head", nn.Linear(8, 3))
    with torch.no_grad():
        module.head.weight.abs_()  # type: ignore[operator, union-attr]  # so that no map is dead
    return Classifier(module, ["a", "b", "c"], Preprocessing(size=(SIDE, SIDE)))


def test_cells_that_see_their_own_pixels_only_are_wholly_local() -> None:
    assert locality(net(None), "relu", IMAGES) == pytest.approx(1.0)


def test_cells_that_hold_the_mean_of_the_image_are_not_local_at_all() -> None:
    assert locality(net(0.0), "mixing", IMAGES) == pytest.approx(0.0, abs=1e-4)


def test_locality_falls_with_the_share_that_is_mixed() -> None:
    found = [locality(net(own), "mixing", IMAGES) for own in (0.0, 0.05, 0.3, 3.0)]
    assert found == sorted(found)
    assert found[-1] > 0.7


def test_the_rule_goes_back_to_the_layer_before_the_mixing() -> None:
    assert choose_layer(net(0.0), []).name == "mixing"
    choice = choose_layer(net(0.0), [], images=IMAGES)
    assert choice.name == "relu"
    assert "speak of their own pixels" in choice.reason
    assert locality(net(0.0), choice.name, IMAGES) > LEAST_LOCAL


def test_the_rule_stays_where_cells_are_local() -> None:
    choice = choose_layer(net(3.0), [], images=IMAGES)
    assert (choice.name, "own pixels" in choice.reason) == ("mixing", False)


def test_a_layer_that_is_named_is_taken_whatever_its_cells_say() -> None:
    assert choose_layer(net(0.0), [], requested="mixing", images=IMAGES).name == "mixing"


def test_a_constant_network_has_no_locality() -> None:
    model = net(None)
    with torch.no_grad():
        model.module.head.weight.zero_()  # type: ignore[union-attr]
    assert math.isnan(locality(model, "relu", IMAGES))
