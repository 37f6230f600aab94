from __future__ import annotations

import json
import pickle
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from camgate.data.preprocessing import Preprocessing
from camgate.errors import ModelError
from camgate.models.builders import build
from camgate.models.classifier import Classifier
from camgate.models.storage import restore_state

ARGS = {"widths": [8, 8, 16, 16], "blocks": [1, 1, 1]}
SIZE = Preprocessing(size=(32, 32), mean=(0.5, 0.4, 0.3), resize="letterbox", antialias=False)
Images = Callable[[int], Tensor]


def make(seed: int = 0, **options: Any) -> Classifier:
    """A net whose batch statistics are not those it was born with."""
    torch.manual_seed(seed)
    module = build("resnet_small", ARGS, 2).train()
    module(torch.rand(4, 3, 32, 32))
    return Classifier(
        module.eval(), ["no", "yes"], SIZE, builder="resnet_small", builder_args=ARGS, **options
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_round_trip(
    tmp_path: Path, dtype: torch.dtype, memory: torch.memory_format, random_images: Images
) -> None:
    saved = make(target_layer="stage2")
    saved.module.to(dtype).to(memory_format=memory)
    loaded = Classifier.load(saved.save(tmp_path / "deep" / "model"))
    images = random_images(5)
    if memory is torch.contiguous_format:
        assert torch.equal(saved.logits(images), loaded.logits(images))
    else:  # kernels of the two memory formats differ in the last bits
        tolerance = 1e-5 if dtype is torch.float32 else 5e-2
        torch.testing.assert_close(
            saved.logits(images), loaded.logits(images), atol=tolerance, rtol=tolerance
        )
    assert loaded.digest() == saved.digest()
    assert (loaded.classes, loaded.preprocessing, loaded.target_layer) == (("no", "yes"), SIZE, "stage2")
    assert (loaded.builder, loaded.builder_args) == ("resnet_small", ARGS)
    for name, value in saved.module.state_dict().items():
        assert loaded.module.state_dict()[name].dtype == value.dtype, name
        assert torch.equal(loaded.module.state_dict()[name], value), name
    assert not loaded.module.training


def test_torchvision_round_trip(tmp_path: Path, random_images: Images) -> None:
    torch.manual_seed(1)
    module = build("torchvision:mobilenet_v3_small", {}, 2).eval()
    saved = Classifier(module, ["no", "yes"], SIZE, builder="torchvision:mobilenet_v3_small")
    loaded = Classifier.load(saved.save(tmp_path))
    assert torch.equal(saved.logits(random_images(2)), loaded.logits(random_images(2)))
    assert saved.digest() == loaded.digest()


def test_nothing_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make().save(tmp_path)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("unpickled")

    for owner, name in ((pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (torch, "load")):
        monkeypatch.setattr(owner, name, refuse)
    assert Classifier.load(tmp_path).classes == ("no", "yes")


def test_loading_leaves_the_callers_random_numbers_alone(tmp_path: Path) -> None:
    make().save(tmp_path)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    Classifier.load(tmp_path)
    assert torch.equal(torch.rand(3), expected)


# --- foreign modules: tied weights, views, state that cannot be stored --------------------------------------

FOREIGN = """
import torch
from torch import nn

class Tied(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.first = nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.second = nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.second.weight = self.first.weight
        self.head = nn.Linear(3, num_classes)
        self.register_buffer("both", torch.arange(6.0))
        self.register_buffer("part", self.both[2:5])
    def forward(self, x):
        return self.head(self.second(self.first(x)).mean((2, 3))) + self.part.sum()

class Extra(nn.Linear):
    def __init__(self, num_classes):
        super().__init__(3, num_classes)
    def get_extra_state(self):
        return {"python": object}
    def set_extra_state(self, state):
        pass
"""


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "foreign_parts.py").write_text(FOREIGN)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("foreign_parts", None)


@pytest.mark.usefixtures("foreign")
def test_tied_weights_and_views_survive(tmp_path: Path, random_images: Images) -> None:
    name = "foreign_parts:Tied"
    saved = Classifier(build(name, {}, 2, allow_code=True), ["no", "yes"], SIZE, builder=name)
    folder = saved.save(tmp_path / "tied")
    loaded = Classifier.load(folder, allow_code=True)
    assert torch.equal(saved.logits(random_images(3)), loaded.logits(random_images(3)))
    assert loaded.module.first.weight is loaded.module.second.weight
    assert loaded.digest() == saved.digest()
    half = Classifier(saved.module.half(), ["no", "yes"], SIZE, builder=name)
    again = Classifier.load(half.save(tmp_path / "half"), allow_code=True)
    assert again.module.first.weight is again.module.second.weight
    assert again.module.first.weight.dtype == torch.float16


@pytest.mark.usefixtures("foreign")
def test_state_that_is_no_tensor_is_named(tmp_path: Path) -> None:
    name = "foreign_parts:Extra"
    classifier = Classifier(build(name, {}, 2, allow_code=True), ["no", "yes"], SIZE, builder=name)
    with pytest.raises(ModelError, match="_extra_state"):
        classifier.save(tmp_path / "extra")


def test_non_contiguous_weights_are_stored_by_value(tmp_path: Path) -> None:
    classifier = make()
    head = classifier.module.head
    head.weight = nn.Parameter(torch.arange(32.0).view(16, 2).t())
    assert not head.weight.is_contiguous()
    assert torch.equal(Classifier.load(classifier.save(tmp_path)).module.head.weight, head.weight)


def test_tensors_without_values_are_named(tmp_path: Path) -> None:
    classifier = make()
    classifier.module.head = nn.Linear(16, 2, device="meta")
    with pytest.raises(ModelError, match=r"head\.bias, head\.weight"):
        classifier.save(tmp_path / "meta")
    assert not (tmp_path / "meta").exists()


@pytest.mark.parametrize("value", [object(), float("nan"), {1, 2}])
def test_arguments_that_are_not_json(value: Any, tmp_path: Path) -> None:
    classifier = make()
    classifier.builder_args = {"widths": value}
    with pytest.raises(ModelError, match="plain JSON"):
        classifier.save(tmp_path)


# --- damaged files ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model.safetensors", "classifier.json"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda content: b"\xff" + content[1:],
        lambda content: content[:-3] + bytes([content[-3] ^ 1]) + content[-2:],
        None,
    ],
    ids=["half", "empty", "first byte", "one bit", "missing"],
)
def test_damaged_files_are_named(name: str, damage: Callable[[bytes], bytes] | None, tmp_path: Path) -> None:
    path = make().save(tmp_path) / name
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ModelError) as caught:
        Classifier.load(tmp_path)
    assert str(path) in str(caught.value)


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "classifier.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"taget_layer": "stage1"}, "taget_layer"),
        ({"format": 2}, "format"),
        ({"classes": ["no", "no"]}, "twice"),
        ({"classes": ["no"]}, "at least two"),
        ({"classes": ["no", ""]}, "non-empty"),
        ({"classes": "no"}, "classes"),
        ({"preprocessing": {"size": [32, 32], "scale": 2}}, "preprocessing.scale"),
        ({"builder": None}, "no `builder`"),
        ({"builder": "resnet_tiny"}, "no builder `resnet_tiny`"),
        ({"builder_args": {"depth": 3}}, "depth"),
        ({"builder_args": {}}, r"model\.safetensors: does not fit.*shape of head\.weight"),
        ({"classes": ["a", "b", "c"]}, r"shape of head\.bias: \(2,\) in the file, \(3,\) in the module"),
    ],
)
def test_an_edited_spec_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    edit(make().save(tmp_path), **changes)
    with pytest.raises(ModelError, match=message) as caught:
        Classifier.load(tmp_path)
    assert str(caught.value).startswith(str(tmp_path))


def test_spec_that_is_no_object(tmp_path: Path) -> None:
    (make().save(tmp_path) / "classifier.json").write_text("[1]")
    with pytest.raises(ModelError, match=r"classifier\.json"):
        Classifier.load(tmp_path)


def test_a_hostile_builder_does_not_run_on_loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = tmp_path / "it-ran"
    (tmp_path / "hostile_net.py").write_text(
        f"import pathlib\npathlib.Path({str(trace)!r}).touch()\n"
        "from camgate.models.builders import resnet_small\n"
        "def make(num_classes, **args): return resnet_small(num_classes, **args)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    folder = make().save(tmp_path / "model")
    edit(folder, builder="hostile_net:make")
    with pytest.raises(ModelError, match="allow_code=True"):
        Classifier.load(folder)
    assert not trace.exists()
    Classifier.load(folder, allow_code=True)
    assert trace.exists()
    sys.modules.pop("hostile_net", None)


def test_missing_and_unexpected_keys_are_both_named(tmp_path: Path) -> None:
    module = build("resnet_small", ARGS, 2)
    tensors = dict(module.state_dict())
    before = {name: value.clone() for name, value in tensors.items()}
    tensors = {name: value + 1 for name, value in tensors.items()}
    tensors["top.weight"] = tensors.pop("head.weight")
    with pytest.raises(ModelError, match=r"here: .*missing: head\.weight.*unexpected: top\.weight"):
        restore_state(module, tensors, source="here")
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_exchanged_weights_are_noticed(tmp_path: Path) -> None:
    folder = make(0).save(tmp_path / "one")
    path = make(1).save(tmp_path / "two") / "model.safetensors"
    (folder / "model.safetensors").write_bytes(path.read_bytes())
    with pytest.raises(ModelError, match="SHA-256"):
        Classifier.load(folder)


def test_the_weights_are_a_plain_safetensors_file(tmp_path: Path) -> None:
    classifier = make()
    tensors = load_file(classifier.save(tmp_path) / "model.safetensors")
    classifier.module.load_state_dict(tensors, strict=True)
    save_file(tensors, tmp_path / "again.safetensors")


# --- writing ------------------------------------------------------------------------------------------------


def test_saving_again_replaces_both_files_and_keeps_others(tmp_path: Path) -> None:
    make(0).save(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    second = make(1)
    second.save(tmp_path)
    assert Classifier.load(tmp_path).digest() == second.digest()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "classifier.json",
        "model.safetensors",
        "notes.txt",
    ]


def test_a_full_disk_leaves_nothing_and_spoils_nothing(tmp_path: Path) -> None:
    first = make(0)
    first.save(tmp_path / "old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))  # the kernel refuses to write more than that
    try:
        for name in ("old", "new"):
            with pytest.raises(ModelError, match="could not be written"):
                make(1).save(tmp_path / name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not (tmp_path / "new").exists()
    assert len(list((tmp_path / "old").iterdir())) == 2
    assert Classifier.load(tmp_path / "old").digest() == first.digest()


def test_a_network_that_asks_for_its_version_comes_back(tmp_path: Path) -> None:
    name = "torchvision:mnasnet0_5"
    how = Preprocessing(size=(32, 32))
    model = Classifier(build(name, {}, 2).eval(), ["a", "b"], how, builder=name)
    assert Classifier.load(model.save(tmp_path / "net")).digest() == model.digest()
