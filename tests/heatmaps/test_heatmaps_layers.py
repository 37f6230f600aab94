"""The rule that chooses the layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn

from camgate.data.preprocessing import Preprocessing
from camgate.errors import InputError, ModelError
from camgate.heatmaps.explainers import Explainer
from camgate.heatmaps.layers import choose_layer, resolve_method
from camgate.heatmaps.stages import carries_all
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


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("resnet50", "layer3"),  # layer4 starts at 8 x 8 too, inside a residual block
        ("shufflenet_v2_x1_0", "stage3"),
        ("regnet_y_400mf", "trunk_output.block3"),
        ("alexnet", "features.11"),  # 7 x 7, whereas its pooling blows 3 x 3 up to 6 x 6
    ],
)
def test_a_layer_that_only_a_part_of_the_information_passes_is_not_chosen(name: str, layer: str) -> None:
    choice = choose_layer(net(name, 128), [region(0.1)])
    assert choice.name == layer
    assert "one stage before the last" in choice.reason
    assert carries_all(net(name, 128), choice.name)


def test_going_around_a_layer_is_seen_and_said() -> None:
    model = net("resnet18", 128)
    assert carries_all(model, "layer3")
    assert not carries_all(model, "layer3.1.conv1")
    assert "goes around" in choose_layer(model, [], requested="layer3.1.conv1").reason
    assert "goes around" not in choose_layer(model, [], requested="layer3").reason


def test_two_streams_have_no_common_layer_and_the_shallowest_is_taken() -> None:
    class Streams(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left = nn.Sequential(nn.Conv2d(3, 4, 3, stride=8, padding=1), nn.ReLU(inplace=True))
            self.right = nn.Sequential(nn.Conv2d(3, 4, 3, stride=8, padding=1), nn.ReLU(inplace=True))
            self.head = nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.cat([self.left(x), self.right(x)], dim=1).mean(dim=(2, 3)))

    choice = choose_layer(Classifier(Streams(), ["a", "b"], Preprocessing(size=(64, 64))), [region(0.3)])
    assert choice.name == "right"


def test_a_blown_up_map_has_no_more_cells_than_it_came_from() -> None:
    choice = choose_layer(net("vgg11", 64), [region(0.3)])
    assert choice.grid == (8, 8)  # not the 7 x 7 that its pooling makes out of 2 x 2
    assert "2 x 2 cells are too coarse" in choice.reason


def test_channels_last_stages_are_maps_too() -> None:
    choice = choose_layer(net("swin_t", 128), [region(0.3)])
    assert (choice.name, choice.grid) == ("features.5", (8, 8))
    assert "4 x 4 cells are too coarse" in choice.reason


def test_nine_in_ten_regions_must_cover_a_cell() -> None:
    large, small = region(0.2, 224), region(0.01, 224)  # half a cell of 7 x 7, two of 14 x 14
    model = net("resnet18", 224)
    assert choose_layer(model, [large] * 19 + [small]).name == "layer4"
    assert choose_layer(model, [large] * 16 + [small] * 4).name == "layer3"


def test_no_regions_leave_the_choice_to_the_number_of_cells() -> None:
    choice = choose_layer(net("resnet18", 224), [])
    assert choice.name == "layer4"
    assert "no valid region" in choice.reason


def test_a_flattened_map_is_no_transformer() -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=8, padding=1),
        nn.Flatten(2),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(8, 2),
    )
    choice = choose_layer(Classifier(module, ["a", "b"], Preprocessing(size=(64, 64))), [region(0.3)])
    assert (choice.name, choice.global_pooling) == ("0", True)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_silent_network_has_no_constant_gradient() -> None:
    module = build("resnet_small", {}, 2)
    torch.nn.init.zeros_(module.head.weight)
    choice = choose_layer(Classifier(module, ["a", "b"], Preprocessing(size=(128, 128))), [region(0.1)])
    assert not choice.global_pooling


def test_gradcam_and_hirescam_agree_where_pooling_was_measured() -> None:
    images = torch.randint(0, 256, (4, 3, 224, 224), dtype=torch.uint8)
    for name in ("mobilenet_v3_small", "densenet121"):
        model = net(name, 224)
        choice = choose_layer(model, [region(0.1)])
        maps = []
        for method in ("gradcam", "hirescam"):
            with Explainer(model, layer=choice.name, method=method) as explainer:
                maps.append(explainer(images).maps)
        agree = torch.allclose(*maps, rtol=1e-3, atol=1e-5 * float(maps[0].max()))
        assert agree == choice.global_pooling == (name != "densenet121")
