"""Channels last in memory: taken where it changes nothing, never where convolutions are differentiated."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from camgate.data.preprocessing import Preprocessing
from camgate.heatmaps.explainers import Explainer
from camgate.models.builders import resnet_small
from camgate.models.classifier import Classifier

NAMES = ["a", "b", "c"]


class Views(nn.Module):
    """Flattens by `.view`, which refuses channels-last memory."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=4)
        self.fc = nn.Linear(4 * 64, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.fc(x.view(len(x), -1))


class Depends(nn.Module):
    """Gives other numbers for another memory format."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        sign = 1.0 if x.is_contiguous() else -1.0
        return sign * self.conv(x).mean(dim=(2, 3))


def classifier(module: nn.Module) -> Classifier:
    return Classifier(module, NAMES, Preprocessing(size=(32, 32)), head="logits")


def formats(found: Classifier, images: Tensor) -> list[bool]:
    """Whether each batch that the module saw had its channels last."""
    seen: list[bool] = []
    with found.module.register_forward_pre_hook(
        lambda _, given: seen.append(given[0].is_contiguous(memory_format=torch.channels_last))
    ):
        with torch.inference_mode():
            found.logits(images)
        found.logits(images)
    return seen


@pytest.mark.parametrize(
    ("make", "taken"), [(lambda: resnet_small(3), True), (Views, False), (Depends, False)]
)
def test_taken_where_the_outputs_stay(make: Any, taken: bool) -> None:
    torch.manual_seed(0)
    found = classifier(make().eval())
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    assert formats(found, images) == [taken, False]
    with torch.inference_mode():
        torch.testing.assert_close(found.logits(images), found.module(found.preprocessing.normalise(images)))


@pytest.mark.parametrize("layer", ["stage1", "stage3"])
def test_maps_are_those_of_plain_memory_and_nothing_is_differentiated_in_the_other(layer: str) -> None:
    torch.manual_seed(0)
    module = resnet_small(3).eval()
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    found, plain = classifier(module), classifier(module)
    plain.takes_channels_last = False
    behind: list[bool] = []
    with Explainer(found, layer=layer, method="hirescam") as explainer:
        for name, part in module.named_modules():
            if isinstance(part, nn.Conv2d) and name.startswith("stage") and name[:6] > layer:
                part.register_forward_hook(lambda _, given, __: behind.append(given[0].is_contiguous()))
        heat = explainer(images)
    with Explainer(plain, layer=layer, method="hirescam") as explainer:
        wanted = explainer(images)
    assert found.takes_channels_last
    assert all(behind)
    assert behind or layer == "stage3"
    torch.testing.assert_close(heat.logits, wanted.logits, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(heat.maps, wanted.maps, rtol=1e-4, atol=1e-6)
