"""Planted truth: one bright block decides, so a map at the right layer lights up there.

A wrong layer is the best known cause of false alarms: on a correct Swin the norm before the last block shows
the background. The criterion that the chosen layers pass must reject such layers.
"""

from __future__ import annotations

from functools import cache

import pytest
import torchvision
import transformers

from camgate.data.preprocessing import Preprocessing
from camgate.errors import ModelError
from camgate.heatmaps.explainers import Explainer
from camgate.heatmaps.layers import choose_layer, resolve_method
from camgate.heatmaps.stages import survey
from camgate.models.builders import build
from camgate.models.classifier import Classifier
from planted import NARROW, choose, look, scenes

SWIN_NORMS = {
    "Swin": "features.3.1.norm1",
    "Swin V2": "features.3.1.norm1",
    "Swin (timm)": "layers.1.blocks.1.norm1",
}
BEHIND = {  # of networks whose head reads a class token: nobody looks at the patch tokens any more
    "ViT, class token": "encoder.layers.encoder_layer_2",
    "ViT, class token (timm)": "blocks.2",
    "ViT, registers": "norm",
    "DeiT, distilled": "blocks.2.norm2",
}


@cache
def fitted(name: str) -> Classifier:
    return NARROW[name].fitted()


@pytest.mark.parametrize("name", NARROW)
def test_the_chosen_layer_shows_the_block_that_decides(name: str) -> None:
    layer, method = choose(fitted(name))
    found = look(fitted(name), layer, method)
    assert found.passed, (layer, method, found)


@pytest.mark.parametrize("name", SWIN_NORMS)
@pytest.mark.parametrize("method", ["gradcam", "hirescam"])
def test_the_norm_before_the_last_block_is_rejected(name: str, method: str) -> None:
    model, wrong = fitted(name), SWIN_NORMS[name]
    assert wrong in dict(model.module.named_modules())
    found = look(model, wrong, method)
    assert found.accuracy >= 0.95  # the network is right, and its map is wrong
    assert not found.passed
    assert found.mass < 0.5
    assert choose(model)[0] != wrong
    assert wrong not in survey(model).whole


@pytest.mark.parametrize("name", BEHIND)
def test_a_layer_whose_patch_tokens_nobody_reads_is_refused(name: str) -> None:
    assert choose(fitted(name))[0] != BEHIND[name]
    with pytest.raises(ModelError, match=r"do not depend on the patch tokens of layer .* every map would be"):
        choose_layer(fitted(name), [], requested=BEHIND[name])


def test_the_reason_says_what_a_class_token_leaves_out() -> None:
    choice = choose_layer(fitted("ViT, class token"), [])
    assert "what the class token gathered before it is not on the map" in choice.reason


@pytest.mark.parametrize(
    ("make", "size", "grid"),
    [
        (
            lambda: build(
                "timm:vit_tiny_patch16_224",
                {"img_size": (96, 160), "patch_size": 8, "depth": 2, "embed_dim": 12, "num_heads": 2},
                2,
            ),
            (96, 160),
            (12, 20),
        ),
        (
            lambda: torchvision.models.SwinTransformer([4, 4], 12, [1, 1], [1, 1], [4, 4], num_classes=2),
            (64, 128),
            (8, 16),
        ),
    ],
    ids=["ViT", "Swin"],
)
def test_non_square_inputs_of_transformers(make, size, grid) -> None:
    model = Classifier(make().eval(), ["a", "b"], Preprocessing(size=size))
    assert choose_layer(model, []).grid == grid


FULL = {
    "torchvision:vit_b_16": ("encoder.layers.encoder_layer_10", (14, 14), "hirescam"),
    "torchvision:vit_b_32": ("encoder.layers.encoder_layer_10", (7, 7), "hirescam"),
    "torchvision:swin_t": ("permute", (7, 7), "gradcam"),
    "torchvision:swin_v2_t": ("permute", None, "gradcam"),
    "torchvision:convnext_tiny": ("features", (7, 7), "gradcam"),
    "torchvision:efficientnet_b0": ("features", (7, 7), "gradcam"),
    "torchvision:mobilenet_v3_large": ("features", (7, 7), "gradcam"),
    "torchvision:densenet201": ("features", (7, 7), "hirescam"),
    "torchvision:regnet_y_400mf": ("trunk_output", (7, 7), "gradcam"),
    "timm:vit_small_patch16_224": ("blocks.10", (14, 14), "hirescam"),
    "timm:deit_tiny_patch16_224": ("blocks.10", (14, 14), "hirescam"),
    "timm:deit_tiny_distilled_patch16_224": ("blocks.10", (14, 14), "hirescam"),
    "timm:vit_small_patch14_reg4_dinov2": ("blocks.10", (37, 37), "hirescam"),
    "timm:swin_tiny_patch4_window7_224": ("norm", (7, 7), "gradcam"),
    "timm:convnext_nano": ("stages", (7, 7), "gradcam"),
    "timm:efficientnet_b0": ("bn2", (7, 7), "gradcam"),
    "timm:mobilenetv3_large_100": (None, (7, 7), None),
    "timm:densenet121": (None, (7, 7), None),
    "timm:regnety_004": (None, (7, 7), "gradcam"),
}


@pytest.mark.long
@pytest.mark.parametrize("name", FULL)
def test_full_size_networks(name: str) -> None:
    wanted, grid, method = FULL[name]
    side = {"timm:vit_small_patch14_reg4_dinov2": 518, "torchvision:swin_v2_t": 256}.get(name, 224)
    model = Classifier(build(name, {}, 5).eval(), list("abcde"), Preprocessing(size=(side, side)))
    choice = choose_layer(model, [])
    assert choice.grid == (grid or (8, 8))
    assert wanted in (None, choice.name)
    assert method in (None, resolve_method("auto", choice))


SMALL = {"image_size": 64, "num_labels": 3, "hidden_size": 32, "num_attention_heads": 2}
OF_TRANSFORMERS = {
    "ViT": ("vit.layers.1", "hirescam"),
    "DeiT": ("deit.layers.1", "hirescam"),
    "Dinov2": ("dinov2.layernorm", "gradcam"),  # its head reads the mean of the patch tokens too
    "Swin": ("swin.layernorm", "gradcam"),
    "ResNet": ("resnet.encoder.stages.1", "gradcam"),
}


@pytest.mark.parametrize("name", OF_TRANSFORMERS)
def test_classifiers_of_transformers(name: str) -> None:
    if name == "Swin":
        sizes = {"patch_size": 4, "embed_dim": 12, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4}
        options = {"image_size": 64, "num_labels": 3, **sizes}
    elif name == "ResNet":
        options = {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1], "num_labels": 3}
    else:
        options = {**SMALL, "patch_size": 8, "num_hidden_layers": 3}
    config = getattr(transformers, f"{name}Config")(**options)
    module = getattr(transformers, f"{name}ForImageClassification")(config).eval()
    model = Classifier(module, ["a", "b", "c"], Preprocessing(size=(64, 64)))
    choice = choose_layer(model, [])
    method = resolve_method("auto", choice)
    assert (choice.name, choice.grid, method) == (OF_TRANSFORMERS[name][0], (8, 8), OF_TRANSFORMERS[name][1])
    images, _, _ = scenes(2, seed=0)
    with Explainer(model, layer=choice.name, method=method) as explainer:
        heat = explainer(images)
    assert heat.maps.shape == (2, 8, 8)
    assert (heat.maps.sum(dim=(1, 2)) > 0).any()
    assert choose_layer(model, [], requested=choice.name).rule == "caller"
