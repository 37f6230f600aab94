"""What networks of other people return, and how many channels they take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import timm
import torch
import transformers
from torch import Tensor, nn
from torchvision.models.detection import ssdlite320_mobilenet_v3_large
from torchvision.models.segmentation import lraspp_mobilenet_v3_large

from camgate.data.preprocessing import Preprocessing
from camgate.errors import ModelError
from camgate.heatmaps.explainers import Explainer
from camgate.models.builders import build
from camgate.models.classifier import Classifier

Images = Callable[[int], Tensor]
SIZE = Preprocessing(size=(32, 32))
TWO = ["cat", "dog"]


def body(outputs: int) -> nn.Sequential:
    torch.manual_seed(outputs)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, outputs)
    ).eval()


class Answers(nn.Module):
    """Wraps a network and changes what it returns."""

    def __init__(self, net: nn.Module, change: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.net = net
        self.change = change

    def forward(self, x: Tensor) -> Any:
        return self.change(self.net(x))


# --- heads --------------------------------------------------------------------------------------------------


def test_one_sigmoid_output_is_two_logits(random_images: Images) -> None:
    net = body(1)
    model = Classifier(net, TWO, SIZE)
    images = random_images(5)
    raw = net(SIZE.normalise(images))
    assert model.head == "sigmoid"
    np.testing.assert_allclose(model.probabilities(images)[:, 1], raw.sigmoid()[:, 0].detach(), rtol=1e-5)
    assert model.head_in_words is not None
    assert "one output, for 'dog'" in model.head_in_words


def test_the_class_explained_of_one_output(random_images: Images) -> None:
    model = Classifier(body(1), TWO, SIZE)
    images = random_images(3)
    with Explainer(model, layer="0", method="hirescam") as explainer:
        explainer(images)
        low = explainer.gradients(torch.zeros(3, dtype=torch.int64))
        high = explainer.gradients(torch.ones(3, dtype=torch.int64))
    torch.testing.assert_close(low, -high)
    assert bool((high != 0).any())


def test_a_last_sigmoid_module_is_undone(random_images: Images) -> None:
    images = random_images(4)
    plain = Classifier(body(1), TWO, SIZE)
    ended = Classifier(nn.Sequential(*body(1), nn.Sigmoid()).eval(), TWO, SIZE)
    assert ended.head == "sigmoid_probability"
    np.testing.assert_allclose(ended.probabilities(images), plain.probabilities(images), atol=1e-5)


def test_softmax_is_not_applied_twice(random_images: Images) -> None:
    images = random_images(4)
    plain = Classifier(body(3), ["a", "b", "c"], SIZE)
    for last in (nn.Softmax(dim=1), nn.LogSoftmax(dim=1)):
        ended = Classifier(nn.Sequential(*body(3), last).eval(), ["a", "b", "c"], SIZE)
        np.testing.assert_allclose(ended.probabilities(images), plain.probabilities(images), atol=1e-5)
    functional = Classifier(Answers(body(3), lambda y: y.softmax(dim=1)), ["a", "b", "c"], SIZE)
    assert functional.head == "probabilities"
    assert plain.head == "logits"
    assert plain.head_in_words is None


def test_what_is_found_does_not_depend_on_the_images(random_images: Images) -> None:
    model = Classifier(body(1), TWO, SIZE)
    images = random_images(6)
    together = model.logits(images)
    alone = torch.cat([Classifier(body(1), TWO, SIZE).logits(images[i : i + 1]) for i in range(6)])
    torch.testing.assert_close(together, alone)


def test_a_given_head_is_taken_saved_and_part_of_the_digest(tmp_path: Path) -> None:
    net = build("resnet_small", {"widths": (4, 4, 4, 4)}, 2)
    options: dict[str, Any] = {"builder": "resnet_small", "builder_args": {"widths": [4, 4, 4, 4]}}
    plain = Classifier(net, TWO, SIZE, **options)
    given = Classifier(net, TWO, SIZE, head="probabilities", **options)
    assert plain.digest() != given.digest()
    assert Classifier.load(given.save(tmp_path)).head == "probabilities"
    assert "head" not in plain._files()["classifier.json"].decode()
    with pytest.raises(ModelError, match="`head` must be one of"):
        Classifier(net, TWO, SIZE, head="sofmax")  # type: ignore[arg-type]


def test_looking_at_the_head_leaves_no_trace(random_images: Images) -> None:
    net = body(2).train()
    seen: list[int] = []
    net[0].register_forward_hook(lambda *_: seen.append(1))
    before = torch.get_rng_state()
    model = Classifier(net, TWO, SIZE)
    assert model.head == "logits"
    assert seen == []
    assert net.training
    assert torch.equal(before, torch.get_rng_state())
    model.logits(random_images(2))
    assert seen == [1]
    assert len(net[0]._forward_hooks) == 1


# --- what is refused, by name -------------------------------------------------------------------------------


class WithLoss(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net, self.loss = body(2), nn.BCEWithLogitsLoss()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


def _multi_label_of_transformers() -> nn.Module:
    module = body(2)
    module.config = SimpleNamespace(problem_type="multi_label_classification")  # type: ignore[assignment]
    return module


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Sequential(*body(2), nn.Sigmoid()), r"multi-label classifier \(it ends in a sigmoid\)"),
        (WithLoss, r"multi-label classifier \(its loss `loss` is BCEWithLogitsLoss\)"),
        (_multi_label_of_transformers, r"multi-label classifier \(its config says"),
        (lambda: Answers(body(2), lambda y: [{"boxes": y, "labels": y}] * len(y)), "an object detector"),
        (lambda: Answers(body(2), lambda y: {"out": y[:, :, None, None]}), "a segmentation network"),
        (lambda: nn.Conv2d(3, 2, 1), "a segmentation network .* or a feature extractor"),
        (lambda: Answers(body(2), lambda y: {"last_hidden_state": y}), "a backbone without a classification"),
        (lambda: body(1), "one output, a sigmoid of two classes, but 3 classes"),
        (lambda: body(2), "2 outputs, but 3 classes are named"),
        (
            lambda: ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None).eval(),
            "object detector",
        ),
        (
            lambda: lraspp_mobilenet_v3_large(weights=None, weights_backbone=None).eval(),
            "segmentation network",
        ),
    ],
)
def test_what_is_no_classifier_is_called_by_its_name(make: Callable[[], nn.Module], message: str) -> None:
    classes = ["a", "b", "c"] if "3 classes" in message else TWO
    with pytest.raises(ModelError, match=message):
        Classifier(make(), classes, SIZE).logits(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))


def test_scripted_traced_and_exported_networks_are_refused_with_the_reason() -> None:
    net, inputs = body(2), (torch.zeros(1, 3, 32, 32),)
    for scripted in (torch.jit.script(net), torch.jit.trace(net, inputs[0])):
        with pytest.raises(ModelError, match=r"TorchScript .*: its layers do not run as Python modules"):
            Classifier(scripted, TWO, SIZE)
    program = torch.export.export(net, inputs)
    for exported in (program, program.module()):
        with pytest.raises(ModelError, match="forward hooks do not fire in its graph"):
            Classifier(exported, TWO, SIZE)  # type: ignore[arg-type]
    assert Classifier(torch.fx.symbolic_trace(net), TWO, SIZE).head == "logits"


# --- wrappers found by themselves ---------------------------------------------------------------------------


class Lit(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net, self.loss = body(2), nn.CrossEntropyLoss()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


def _of_transformers() -> nn.Module:
    config = transformers.ResNetConfig(
        embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic", num_labels=2
    )
    return transformers.ResNetForImageClassification(config).eval()


@pytest.mark.parametrize(
    ("make", "layer"),
    [
        (Lit, "net.0"),
        (lambda: timm.create_model("resnet10t", num_classes=2).eval(), "layer3"),
        (_of_transformers, "resnet.encoder"),
        (lambda: torch.compile(body(2)), "0"),
        (lambda: nn.DataParallel(body(2)), "0"),
        (lambda: Answers(body(2), lambda y: (y, y + 1)), "net.0"),
        (lambda: Answers(body(2), lambda y: {"logits": y, "loss": None}), "net.0"),
    ],
    ids=["lightning", "timm", "transformers", "compiled", "data parallel", "tuple", "mapping"],
)
def test_wrapped_networks_give_logits_and_heatmaps(
    make: Callable[[], nn.Module], layer: str, random_images: Images
) -> None:
    model = Classifier(make(), TWO, SIZE)
    images = random_images(3)
    probabilities = model.probabilities(images)
    assert probabilities.shape == (3, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    if layer != "resnet.encoder":  # its output is an object
        with Explainer(model, layer=layer, method="gradcam") as explainer:
            heat = explainer(images)
        np.testing.assert_allclose(heat.logits.softmax(dim=1), probabilities, rtol=1e-4)


# --- channels -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_networks_with_other_channels(channels: int) -> None:
    how = Preprocessing(size=(16, 24), mean=(0.5,) * channels, std=(0.25,) * channels)
    net = nn.Sequential(nn.Conv2d(channels, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = Classifier(net, ["a", "b", "c"], how)
    images = torch.randint(0, 256, (4, channels, 16, 24), dtype=torch.uint8)
    torch.testing.assert_close(model.logits(images), net((images / 255 - 0.5) / 0.25))
    with pytest.raises(ValueError, match=rf"\(B, {channels}, h, w\)"):
        model.logits(torch.zeros(1, 3, 16, 24, dtype=torch.uint8))
