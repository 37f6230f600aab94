"""The rule that chooses the layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn

from camgate.data.preprocessing import Preprocessing
from camgate.errors import InputError, ModelError
from camgate.heatmaps.layers import choose_layer, resolve_method
from camgate.models.builders import build
from camgate.models.classifier import Classifier


def net(name: str, size: int, **options: object) -> Classifier:
    module = torchvision.models.get_model(name, weights=None, num_classes=2)
    return Classifier(module.eval(), ["a", "b"], Preprocessing(size=(size, size)), **options)  # type: ignore[arg-type]


def region(share: float, size: int = 64) -> np.ndarray:
    mask = np.zeros((size, size), dtype=bool)
    side = round(size * share**0.5)
    mask[:side, :side] = True
    return mask


@pytest.mark.parametrize(
    ("name", "size", "share", "layer", "grid"),
    [
        ("resnet18", 224, 0.1, "layer4", (7, 7)),
        ("resnet18", 128, 0.1, "layer3", (8, 8)),  # the last map has 4 x 4 cells
        ("resnet18", 224, 0.005, "layer3", (14, 14)),  # a quarter of a cell of the last map
        ("resnet50", 224, 0.2, "layer4", (7, 7)),
        ("mobilenet_v3_small", 224, 0.1, "features", (7, 7)),
        ("efficientnet_b0", 224, 0.1, "features", (7, 7)),
        ("densenet121", 224, 0.1, "features", (7, 7)),
        ("convnext_tiny", 224, 0.1, "features", (7, 7)),
        ("regnet_y_400mf", 224, 0.1, "trunk_output", (7, 7)),
    ],
)
def test_the_deepest_stage_that_resolves_the_regions(
    name: str, size: int, share: float, layer: str, grid: tuple[int, int]
) -> None:
    choice = choose_layer(net(name, size), [region(share)] * 3)
    assert (choice.name, choice.grid, choice.rule) == (layer, grid, "auto")
    assert "cells" in choice.reason


def test_the_reference_network_is_explained_at_its_last_stage_by_gradcam() -> None:
    module = build("resnet_small", {}, 2)
    choice = choose_layer(Classifier(module, ["a", "b"], Preprocessing(size=(128, 128))), [region(0.1)])
    assert (choice.grid, choice.global_pooling) == ((8, 8), True)
    assert "the last stage" in choice.reason
    assert resolve_method("auto", choice) == "gradcam"


def test_before_the_last_stage_hirescam_is_taken() -> None:
    choice = choose_layer(net("resnet18", 128), [region(0.1)])
    assert not choice.global_pooling
    assert resolve_method("auto", choice) == "hirescam"
    assert resolve_method("layercam", choice) == "layercam"
    with pytest.raises(InputError):
        resolve_method("grad-cam", choice)


def test_who_named_the_layer_is_kept() -> None:
    assert choose_layer(net("resnet18", 128, target_layer="layer2"), []).rule == "model"
    choice = choose_layer(net("resnet18", 128, target_layer="layer2"), [], requested="layer4")
    assert (choice.name, choice.rule, choice.grid) == ("layer4", "caller", (4, 4))
    with pytest.raises(ModelError, match="layer3"):
        choose_layer(net("resnet18", 128), [], requested="layr3")


def test_nothing_resolves_a_speck_and_the_reason_says_so() -> None:
    choice = choose_layer(net("resnet18", 128), [region(0.0001, 128)])
    assert "coarse" in choice.reason


def test_a_network_without_a_map_is_refused() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2))
    with pytest.raises(ModelError, match="no layer with a spatial map"):
        choose_layer(Classifier(flat, ["a", "b"], Preprocessing(size=(32, 32))), [])


def test_a_transformer_is_refused_by_name() -> None:
    with pytest.raises(ModelError, match="transformer"):
        choose_layer(net("vit_b_16", 224), [])


def test_non_square_inputs() -> None:
    module = torchvision.models.resnet18(weights=None, num_classes=2).eval()
    choice = choose_layer(Classifier(module, ["a", "b"], Preprocessing(size=(224, 320))), [region(0.2)])
    assert choice.grid == (7, 10)


def test_the_model_is_left_as_it_was() -> None:
    model = net("resnet18", 64)
    model.module.train()
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    choose_layer(model, [region(0.3)])
    assert model.module.training
    assert not any(module._forward_hooks for module in model.module.modules())
    for name, value in model.module.state_dict().items():
        torch.testing.assert_close(value, before[name])


def test_pooling_is_measured_not_guessed_from_names() -> None:
    class Weighted(nn.Module):
        """Ends in something called pool that weighs cells differently."""

        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Conv2d(3, 4, 3, stride=8, padding=1)
            self.pool = nn.Linear(64, 1)
            self.head = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.pool(self.features(x).flatten(2)).squeeze(2))

    model = Classifier(Weighted(), ["a", "b"], Preprocessing(size=(64, 64)))
    assert not choose_layer(model, [region(0.3)], requested="features").global_pooling
