from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from camgate.errors import ModelError
from camgate.models.builders import BUILDERS, build, builder, requirements_of, runs_code


def test_resnet_small_has_the_promised_size_and_last_map() -> None:
    net = build("resnet_small", None, 4).eval()
    assert 550_000 < sum(p.numel() for p in net.parameters()) < 650_000
    maps = {}
    for name in ("stem", "stage1", "stage2", "stage3"):
        net.get_submodule(name).register_forward_hook(
            lambda _m, _i, output, name=name: maps.update({name: tuple(output.shape[2:])})
        )
    assert net(torch.zeros(1, 3, 128, 128)).shape == (1, 4)
    assert maps == {"stem": (64, 64), "stage1": (32, 32), "stage2": (16, 16), "stage3": (8, 8)}


def test_resnet_small_ends_in_global_pooling_and_one_linear_layer() -> None:
    tail = list(build("resnet_small", None, 3).children())[-3:]
    assert [type(part) for part in tail] == [nn.AdaptiveAvgPool2d, nn.Flatten, nn.Linear]


def test_resnet_small_does_nothing_in_place_so_that_hooks_may_replace_outputs() -> None:
    assert not any(getattr(part, "inplace", False) for part in build("resnet_small", None, 2).modules())


@pytest.mark.parametrize("args", [{"widths": (8, 8)}, {"blocks": (1, 0, 1)}, {"depth": 3}])
def test_arguments_that_do_not_fit_name_the_builder(args: dict[str, object]) -> None:
    with pytest.raises(ModelError, match="resnet_small"):
        build("resnet_small", args, 2)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "squeezenet1_1"])
def test_torchvision_by_name(name: str) -> None:
    net = build(f"torchvision:{name}", {}, 5).eval()
    assert net(torch.zeros(1, 3, 64, 64)).shape == (1, 5)


def test_torchvision_offers_near_names_and_refuses_what_would_download() -> None:
    with pytest.raises(ModelError, match=r"no classification network `resnet81`.*resnet18"):
        build("torchvision:resnet81", {}, 2)
    with pytest.raises(ModelError, match="no `weights`"):
        build("torchvision:resnet18", {"weights": "DEFAULT"}, 2)
    with pytest.raises(ModelError, match="no classification network"):
        build("torchvision:fcn_resnet50", {}, 2)  # segmentation


@pytest.mark.parametrize("name", ["resnet10t", "mobilenetv3_small_050", "convnext_atto"])
def test_timm_by_name(name: str) -> None:
    net = build(f"timm:{name}", {"drop_rate": 0.1}, 5).eval()
    assert net(torch.zeros(1, 3, 64, 64)).shape == (1, 5)


def test_timm_offers_near_names_and_refuses_what_would_download_or_read() -> None:
    with pytest.raises(ModelError, match=r"timm has no network `resnet81`.*resnet18"):
        build("timm:resnet81", {}, 2)
    with pytest.raises(ModelError, match=r"did you mean vit_tiny_patch16_224\?"):
        build("timm:vit_tiny_patch16_224.augreg_in21k", {}, 2)
    with pytest.raises(ModelError, match="timm has no network `hf-hub:timm/resnet18"):
        build("timm:hf-hub:timm/resnet18.a1_in1k", {}, 2)
    for argument in ("pretrained", "pretrained_cfg", "checkpoint_path"):
        with pytest.raises(ModelError, match=f"`timm:resnet18` takes no `{argument}`"):
            build("timm:resnet18", {argument: "anything"}, 2)


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModelError, match=r"pip install 'camgate\[timm\]'"):
        build("timm:resnet18", {}, 2)


def test_whose_code_a_builder_runs_and_what_it_needs() -> None:
    names = ["resnet_small", "torchvision:resnet18", "timm:resnet18", "my.nets:Net"]
    assert [runs_code(name) for name in names] == [False, False, False, True]
    assert [requirements_of(name) for name in (*names, None)] == [(), (), ("timm",), (), ()]


def test_unknown_name_offers_near_ones() -> None:
    with pytest.raises(ModelError, match="did you mean resnet_small"):
        build("resnet_smal", {}, 2)


@pytest.mark.parametrize("name", [":f", "a:", "a b:c", "a:b:c", "a;b:c", ".a:b", "a:b()"])
def test_malformed_import_path_is_never_imported(name: str) -> None:
    with pytest.raises(ModelError, match="not an import path"):
        build(name, {}, 2, allow_code=True)


def test_number_of_classes_is_not_an_argument() -> None:
    with pytest.raises(ModelError, match="leave it out"):
        build("resnet_small", {"num_classes": 7}, 2)


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module whose import leaves a trace."""
    trace = tmp_path / "it-ran"
    (tmp_path / "foreign_nets.py").write_text(
        f"import pathlib\npathlib.Path({str(trace)!r}).touch()\n"
        "from torch import nn\n"
        "class Nets:\n"
        "    @staticmethod\n"
        "    def linear(num_classes, side=4):\n"
        "        return nn.Sequential(nn.Flatten(), nn.Linear(3 * side * side, num_classes))\n"
        "def text(num_classes): return 'no module'\n"
        "constant = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "foreign_nets", raising=False)
    yield trace
    sys.modules.pop("foreign_nets", None)


def test_foreign_code_runs_only_when_allowed(foreign: Path) -> None:
    with pytest.raises(ModelError, match="allow_code=True"):
        build("foreign_nets:Nets.linear", {"side": 2}, 3)
    assert not foreign.exists()
    assert "foreign_nets" not in sys.modules
    assert build("foreign_nets:Nets.linear", {"side": 2}, 3, allow_code=True)[1].out_features == 3
    assert foreign.exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("foreign_nets:nothing", "cannot be imported"),
        ("no_such_package_at_all:f", "cannot be imported"),
        ("foreign_nets:constant", "not callable"),
        ("foreign_nets:text", "returned str"),
    ],
)
def test_foreign_code_that_gives_no_module(foreign: Path, name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build(name, {}, 2, allow_code=True)


def test_registering_twice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("camgate.models.builders.BUILDERS", dict(BUILDERS))
    with pytest.raises(ValueError, match="taken already"):
        builder("resnet_small")(lambda num_classes: nn.Identity())
    with pytest.raises(ValueError, match="colon"):
        builder("a:b")
