from __future__ import annotations

import argparse
import hashlib
import urllib.request
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision.models as tv_models
from safetensors.torch import save_file
from torch import nn
from torchvision.models import ResNet18_Weights
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.swin_transformer import SwinTransformer

from camgate.data.preprocessing import Preprocessing
from camgate.errors import ModelError
from camgate.models.builders import build
from camgate.models.classifier import Classifier
from camgate.models.transfer import last_layer
from camgate.models.weights import _HASH, start_from, weights_file

TINY = {"widths": (8, 8, 16, 16), "blocks": (1, 1, 1)}
RESNET = ResNet18_Weights.IMAGENET1K_V1


def tiny(classes: int = 2, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build("resnet_small", TINY, classes)


def saved(content: Any, path: Path) -> Path:
    torch.save(content, path)
    return path


def same(module: nn.Module, other: nn.Module, *, but: str = "nothing") -> bool:
    states = module.state_dict(), other.state_dict()
    return all(
        torch.equal(states[0][name], states[1][name]) for name in states[0] if not name.startswith(but)
    )


# --- what a file may hold -----------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "module._orig_mod."])
@pytest.mark.parametrize("key", [None, "state_dict", "model", "model_state_dict"])
def test_checkpoints_of_many_trainers(tmp_path: Path, key: str | None, prefix: str) -> None:
    trained = tiny(seed=1)
    state = {prefix + name: value for name, value in trained.state_dict().items()}
    options = {"epoch": 3, "optimizer": {"state": {}}, "args": argparse.Namespace(lr=0.1)}
    path = saved(state if key is None else {**options, key: state}, tmp_path / "last.ckpt")
    module = tiny()
    assert start_from(module, path) == []
    assert same(module, trained)


def test_a_state_dict_saved_by_data_parallel(tmp_path: Path) -> None:
    trained = nn.DataParallel(tiny(seed=1))
    module = tiny()
    start_from(module, saved(trained.state_dict(), tmp_path / "parallel.pth"))
    assert same(module, trained.module)


def test_a_prefix_that_is_part_of_the_module_is_kept(tmp_path: Path) -> None:
    trained = nn.Sequential(OrderedDict(model=tiny(seed=1)))
    module = nn.Sequential(OrderedDict(model=tiny()))
    start_from(module, saved(trained.state_dict(), tmp_path / "a.pth"))
    assert same(module, trained)


def test_a_head_of_another_shape_is_left_and_named(tmp_path: Path) -> None:
    trained, module = tiny(5), tiny(2, seed=1)
    head = module.head.weight.detach().clone()
    left = start_from(module, saved(trained.state_dict(), tmp_path / "a.pth"))
    assert left == ["head.weight", "head.bias"]
    assert torch.equal(module.head.weight, head)
    assert same(module, trained, but="head")


def test_a_file_without_a_head(tmp_path: Path) -> None:
    state = {name: value for name, value in tiny().state_dict().items() if not name.startswith("head")}
    save_file(state, tmp_path / "backbone.safetensors")
    assert start_from(tiny(), tmp_path / "backbone.safetensors") == ["head.weight", "head.bias"]


def test_everything_else_has_to_fit(tmp_path: Path) -> None:
    state = tiny().state_dict()
    wide = build("resnet_small", {**TINY, "widths": (8, 8, 24, 16)}, 2)
    with pytest.raises(
        ModelError, match=r"a\.pth: does not fit the module; size mismatch for stage2\.0\.conv1"
    ):
        start_from(wide, saved(state, tmp_path / "a.pth"))
    state["extra.weight"] = state.pop("stem.0.weight")
    with pytest.raises(ModelError, match=r"missing: stem\.0\.weight \(1\); unexpected: extra\.weight \(1\)"):
        start_from(tiny(), saved(state, tmp_path / "a.pth"))


def test_files_that_are_no_weights(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "it-ran",)

    good = saved(tiny().state_dict(), tmp_path / "good.pth").read_bytes()
    save_file(tiny().state_dict(), tmp_path / "good.safetensors")
    saved(Evil(), tmp_path / "evil.pt")
    saved({"state_dict": tiny(), "model": [1]}, tmp_path / "module.pt")
    saved([1, 2], tmp_path / "list.pt")
    (tmp_path / "text.pt").write_text("no weights")
    (tmp_path / "half.pt").write_bytes(good[: len(good) // 2])
    (tmp_path / "text.safetensors").write_text("no weights")
    (tmp_path / "half.safetensors").write_bytes((tmp_path / "good.safetensors").read_bytes()[:-100])
    names = ("evil.pt", "module.pt", "list.pt", "text.pt", "half.pt", "text.safetensors", "half.safetensors")
    for name in (*names, "absent.pt"):
        with pytest.raises(ModelError, match=name.replace(".", r"\.")):
            start_from(tiny(), tmp_path / name)
    assert not (tmp_path / "it-ran").exists()


# --- heads of 10 classes into nets of 2 ---------------------------------------------------------------------


def vit(num_classes: int) -> nn.Module:
    return tv_models.VisionTransformer(
        image_size=64,
        patch_size=16,
        num_layers=2,
        num_heads=2,
        hidden_dim=16,
        mlp_dim=32,
        num_classes=num_classes,
    )


def swin(num_classes: int) -> nn.Module:
    return SwinTransformer([4, 4], 12, [1, 1], [1, 2], [4, 4], num_classes=num_classes)


def convnext(num_classes: int) -> nn.Module:
    return tv_models.ConvNeXt([CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 1)], num_classes=num_classes)


def vgg(num_classes: int) -> nn.Module:
    net = tv_models.VGG(nn.Conv2d(3, 512, 16, 16), num_classes=num_classes, init_weights=False)
    net.classifier[0], net.classifier[3], net.classifier[6] = (  # as it is, with 64 instead of 4096 features
        nn.Linear(512 * 7 * 7, 64),
        nn.Linear(64, 64),
        nn.Linear(64, num_classes),
    )
    return net


def densenet(num_classes: int) -> nn.Module:
    return tv_models.DenseNet(4, (2, 2), 8, num_classes=num_classes)


def named(name: str, **args: Any) -> Callable[[int], nn.Module]:
    return partial(build, name, args)


NETS: dict[str, tuple[Callable[[int], nn.Module], str]] = {
    "resnet": (named("torchvision:resnet18"), "fc"),
    "mobilenet_v3": (named("torchvision:mobilenet_v3_small"), "classifier.3"),
    "vgg": (vgg, "classifier.6"),
    "efficientnet": (named("torchvision:efficientnet_b0"), "classifier.1"),
    "convnext": (convnext, "classifier.2"),
    "vit": (vit, "heads.head"),
    "swin": (swin, "head"),
    "densenet": (densenet, "classifier"),
    "regnet": (named("torchvision:regnet_y_400mf"), "fc"),
    "squeezenet": (named("torchvision:squeezenet1_1"), "classifier.1"),
    "timm resnetv2": (named("timm:resnetv2_50", layers=[1, 1, 1, 1], channels=[8, 8, 16, 16]), "head.fc"),
    "timm vit": (named("timm:vit_tiny_patch16_224", img_size=64, depth=2), "head"),
    "timm convnext": (named("timm:convnext_atto"), "head.fc"),
}


def found(net: nn.Module, classes: int) -> nn.Module | None:
    how = Preprocessing(size=(64, 64))
    images = torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8)
    return last_layer(Classifier(net, [str(number) for number in range(classes)], how), images)


@pytest.mark.parametrize("name", NETS)
def test_ten_classes_into_two(name: str, tmp_path: Path) -> None:
    make, head = NETS[name]
    torch.manual_seed(0)
    trained, net = make(10), make(2)
    before = net.get_submodule(head).weight.detach().clone()
    path = saved(trained.state_dict(), tmp_path / "ten.pth")
    layer = found(net, 2)
    assert layer is net.get_submodule(head)
    assert start_from(net, path, head=layer) == [f"{head}.weight", f"{head}.bias"]
    assert torch.equal(net.get_submodule(head).weight, before)
    assert same(net, trained, but=head)


def test_a_head_that_was_not_registered_last(tmp_path: Path) -> None:
    class HeadFirst(nn.Module):
        def __init__(self, classes: int) -> None:
            super().__init__()
            self.top = nn.Linear(8, classes)
            self.bottom = nn.Conv2d(3, 8, 8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.top(self.bottom(x).mean((2, 3)))

    trained, net = HeadFirst(10), HeadFirst(2)
    path = saved(trained.state_dict(), tmp_path / "a.pth")
    assert start_from(net, path, head=found(net, 2)) == ["top.weight", "top.bias"]
    assert same(net, trained, but="top")


# --- files of older releases of torchvision -----------------------------------------------------------------


def test_names_of_old_releases(tmp_path: Path) -> None:
    trained, net = densenet(2), densenet(2)
    old = {
        name.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): value
        for name, value in trained.state_dict().items()
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    start_from(net, saved(old, tmp_path / "densenet.pth"))
    assert same(net, trained)

    trained, net = vit(2), vit(2)
    old = {
        name.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): value
        for name, value in trained.state_dict().items()
    }
    assert any("linear_1" in name for name in old)
    save_file(old, tmp_path / "vit.safetensors")
    start_from(net, tmp_path / "vit.safetensors")
    assert same(net, trained)


def test_files_from_before_batch_norm_counted(tmp_path: Path) -> None:
    state = {name: value for name, value in tiny(seed=1).state_dict().items() if "num_batches" not in name}
    module = tiny()
    assert start_from(module, saved(state, tmp_path / "plain.pth")) == []
    assert same(module, tiny(seed=1))


def test_a_module_that_asks_for_the_version_of_the_file(tmp_path: Path) -> None:
    trained, net = tv_models.mnasnet0_5(num_classes=2), tv_models.mnasnet0_5(num_classes=2)
    save_file(trained.state_dict(), tmp_path / "mnasnet.safetensors")
    start_from(net, tmp_path / "mnasnet.safetensors")
    assert same(net, trained)


def test_side_outputs_that_the_net_is_built_without(tmp_path: Path) -> None:
    trained = tv_models.GoogLeNet(num_classes=10, aux_logits=True, init_weights=False)
    net = build("torchvision:googlenet", {"aux_logits": False, "init_weights": False}, 2)
    left = start_from(net, saved(trained.state_dict(), tmp_path / "a.pth"), head=net.fc)
    assert left == ["fc.weight", "fc.bias"]
    assert same(net, trained, but="fc")


# --- torchvision's weights by name --------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "hub" / "checkpoints"


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that torchvision is made to offer as the weights of resnet18, at a `file:` address."""
    torch.manual_seed(5)
    path = saved(tv_models.resnet18().state_dict(), tmp_path / "resnet18.pth")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path = path.rename(path.with_name(f"resnet18-{digest[:8]}.pth"))
    monkeypatch.setattr(RESNET.value, "url", path.as_uri())
    return path


NAMES = ["IMAGENET1K_V1", "DEFAULT", "ResNet18_Weights.IMAGENET1K_V1", "ResNet18_Weights.DEFAULT"]


@pytest.mark.parametrize("name", NAMES)
def test_named_weights_are_fetched_once_and_then_taken_from_the_cache(
    name: str, offered: Path, cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = weights_file(name, "torchvision:resnet18")
    assert path == cache / offered.name
    assert path.read_bytes() == offered.read_bytes()
    offered.unlink()
    assert weights_file(name, "torchvision:resnet18") == path
    net = build("torchvision:resnet18", {}, 2)
    assert start_from(net, path) == ["fc.weight", "fc.bias"]
    assert [file.name for file in cache.iterdir()] == [offered.name]
    assert capfd.readouterr() == ("", "")


def test_without_a_network_the_error_says_which_file_to_put_where(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setattr(urllib.request, "_opener", None)
    with pytest.raises(ModelError) as caught:
        weights_file("IMAGENET1K_V1", "torchvision:resnet18")
    for part in (
        "file resnet18-f37072fd.pth from https://download.pytorch.org/models/resnet18-f37072fd.pth",
        f"into the folder {cache}",
        'weights="path/to/resnet18-f37072fd.pth"',
        "Connection refused",
    ):
        assert part in str(caught.value)
    assert list(cache.iterdir()) == []


def test_a_half_written_file_in_the_cache_is_named(offered: Path, cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / offered.name).write_bytes(offered.read_bytes()[:1000])
    with pytest.raises(ModelError) as caught:
        weights_file("DEFAULT", "torchvision:resnet18")
    assert f"{cache / offered.name}: is damaged or only half of the file (1,000 bytes)" in str(caught.value)
    assert offered.as_uri() in str(caught.value)
    assert (cache / offered.name).exists()  # deleting is up to its owner


def test_a_download_of_something_else_is_not_kept(offered: Path, cache: Path) -> None:
    offered.write_bytes(b"a login page")
    with pytest.raises(ModelError, match="invalid hash value"):
        weights_file("DEFAULT", "torchvision:resnet18")
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("name", ["IMAGENET1K_V7", "ResNet50_Weights.IMAGENET1K_V1", "resnet18.pth"])
def test_a_name_that_is_neither_file_nor_weights(name: str, cache: Path) -> None:
    with pytest.raises(
        ModelError, match=r"no such file of weights.*`resnet18` are called IMAGENET1K_V1, DEFAULT"
    ):
        weights_file(name, "torchvision:resnet18")
    assert not cache.exists()


def test_names_belong_to_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="DEFAULT: there is no such file of weights"):
        start_from(tiny(), weights_file("DEFAULT", "resnet_small"))


def test_a_file_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("DEFAULT").touch()
    assert weights_file("DEFAULT", "torchvision:resnet18") == Path("DEFAULT")


def test_every_file_of_torchvision_carries_its_hash_in_its_name() -> None:
    networks = tv_models.list_models(module=tv_models)
    urls = [weights.url for name in networks for weights in tv_models.get_model_weights(name)]
    assert len(urls) > 100
    assert [url for url in urls if not _HASH.search(url.rsplit("/", 1)[1])] == []
