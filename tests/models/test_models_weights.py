"""Weights to start from: files of all kinds, and torchvision's by name without a network."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision.models as tv_models
from safetensors.torch import save_file
from torch import nn
from torchvision.models.convnext import CNBlockConfig

from camgate.errors import ModelError
from camgate.models.builders import build
from camgate.models.weights import find_weights, start_from

SMALL_VIT = {
    "image_size": 32,
    "patch_size": 8,
    "num_layers": 1,
    "num_heads": 2,
    "hidden_dim": 12,
    "mlp_dim": 8,
}
SMALL_SWIN = {
    "patch_size": [4, 4],
    "embed_dim": 12,
    "depths": [1, 1],
    "num_heads": [1, 1],
    "window_size": [7, 7],
}
NETS: dict[str, Callable[[int], nn.Module]] = {
    **{
        name: partial(lambda name, classes: build(name, {}, classes), name)
        for name in (
            "torchvision:resnet18",
            "torchvision:mobilenet_v3_small",
            "torchvision:squeezenet1_1",
            "torchvision:efficientnet_b0",
            "torchvision:densenet121",
            "torchvision:regnet_y_400mf",
            "timm:resnet10t",
        )
    },
    "vit": lambda classes: tv_models.VisionTransformer(num_classes=classes, **SMALL_VIT),
    "swin": lambda classes: tv_models.SwinTransformer(num_classes=classes, **SMALL_SWIN),
    "convnext": lambda classes: tv_models.ConvNeXt(
        [CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 1)], num_classes=classes
    ),
    "timm vit": lambda classes: build(
        "timm:vit_tiny_patch16_224", {"img_size": 32, "depth": 1, "embed_dim": 12, "num_heads": 2}, classes
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_everything_but_the_last_layer_is_taken(name: str, tmp_path: Path) -> None:
    before = NETS[name](10).state_dict()
    torch.save(before, tmp_path / "ten.pth")
    net = NETS[name](2)
    kept = start_from(net, tmp_path / "ten.pth")
    assert len(kept) == 2
    after = net.state_dict()
    assert all(after[part].shape[0] == 2 for part in kept)
    assert all(torch.equal(after[part], before[part]) for part in after if part not in kept)


def small() -> nn.Module:
    return build("resnet_small", {"widths": (4, 4, 4, 4)}, 3)


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state, "args": {"lr": 0.1}},
        lambda state: {f"module.{name}": value for name, value in state.items()},
        lambda state: {"state_dict": {f"net.model.{name}": value for name, value in state.items()}},
    ],
    ids=["state_dict", "model", "data parallel", "lightning"],
)
def test_what_others_wrap_weights_in(wrapped: Any, tmp_path: Path) -> None:
    before = small()
    torch.save(wrapped(before.state_dict()), tmp_path / "w.pth")
    after = small()
    assert start_from(after, tmp_path / "w.pth") == []
    assert all(
        torch.equal(a, b)
        for a, b in zip(before.state_dict().values(), after.state_dict().values(), strict=True)
    )


def test_old_names_of_densenet(tmp_path: Path) -> None:
    before = build("torchvision:densenet121", {}, 2).state_dict()
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", name): before[name] for name in before}
    assert set(old) != set(before)
    torch.save(old, tmp_path / "w.pth")
    assert start_from(build("torchvision:densenet121", {}, 2), tmp_path / "w.pth") == []


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch's cache in an empty folder, and no network."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    return tmp_path / "hub" / "checkpoints"


@pytest.mark.parametrize("name", ["DEFAULT", "IMAGENET1K_V1", "ResNet18_Weights.IMAGENET1K_V1"])
def test_without_a_network_the_error_says_which_file_to_put_where(hub: Path, name: str) -> None:
    with pytest.raises(ModelError) as caught:
        find_weights(name, "torchvision:resnet18")
    text = str(caught.value)
    assert "Get resnet18-f37072fd.pth from https://download.pytorch.org/models/resnet18-f37072fd.pth" in text
    assert str(hub) in text
    assert "give its path as `weights`" in text
    assert not list(hub.glob("*"))  # no half-written file


def test_a_file_in_the_cache_is_checked_by_the_hash_in_its_name(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.mkdir(parents=True)
    content = b"weights of a network"
    (hub / "resnet18-f37072fd.pth").write_bytes(content)
    with pytest.raises(ModelError, match=r"resnet18-f37072fd\.pth: damaged or cut off"):
        find_weights("DEFAULT", "torchvision:resnet18")
    prefix = hashlib.sha256(content).hexdigest()[:8]
    good = f"https://nowhere.invalid/resnet18-{prefix}.pth"
    monkeypatch.setattr("camgate.models.weights._named", lambda builder: {"DEFAULT": good})
    (hub / f"resnet18-{prefix}.pth").write_bytes(content)
    assert find_weights("DEFAULT", "torchvision:resnet18") == hub / f"resnet18-{prefix}.pth"


def test_a_name_that_is_neither_file_nor_weights(hub: Path) -> None:
    with pytest.raises(ModelError, match=r"no such file of weights; torchvision has DEFAULT, IMAGENET1K_V1"):
        find_weights("IMAGENET1K_V9", "torchvision:resnet18")
    with pytest.raises(ModelError, match=r"no such file of weights$"):
        find_weights("DEFAULT", "resnet_small")


def test_safetensors_with_a_prefix_and_weights_that_do_not_fit(tmp_path: Path) -> None:
    net = small()
    save_file(
        {f"module.{name}": value for name, value in net.state_dict().items()}, tmp_path / "w.safetensors"
    )
    assert start_from(small(), tmp_path / "w.safetensors") == []
    with pytest.raises(ModelError, match=r"w\.safetensors: does not fit the module"):
        start_from(build("resnet_small", {"widths": (4, 4, 4, 8)}, 3), tmp_path / "w.safetensors")
