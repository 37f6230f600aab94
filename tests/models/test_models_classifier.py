from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from camgate.data.preprocessing import Preprocessing
from camgate.errors import InputError, ModelError
from camgate.models.builders import build
from camgate.models.classifier import Classifier, evaluation_mode

SIZE = Preprocessing(size=(32, 32))
Images = Callable[[int], Tensor]


def make(*, seed: int = 0, classes: tuple[str, ...] = ("a", "b", "c"), **options: Any) -> Classifier:
    torch.manual_seed(seed)
    args = {"widths": [8, 8, 16, 16], "blocks": [1, 1, 1]}
    module = build("resnet_small", args, len(classes))
    preprocessing = options.pop("preprocessing", SIZE)
    return Classifier(module, classes, preprocessing, builder="resnet_small", builder_args=args, **options)


class Fixed(nn.Module):
    """Returns what it is told."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: Tensor) -> Any:
        return self.answer(x) if callable(self.answer) else self.answer


# --- construction -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ((), "at least two"),
        (("a",), "at least two"),
        (("a", "b", "a"), "'a' twice"),
        (("a", ""), "position 1"),
        (("a", "  "), "position 1"),
        (("a", 3), "position 1"),
        ("ab", "list of names"),
    ],
)
def test_classes_that_make_no_sense_are_refused(classes: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Classifier(nn.Identity(), classes, SIZE)


def test_wrong_kinds_are_type_errors() -> None:
    with pytest.raises(TypeError, match="module"):
        Classifier("resnet18", ["a", "b"], SIZE)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="preprocessing"):
        Classifier(nn.Identity(), ["a", "b"], {"size": (2, 2)})  # type: ignore[arg-type]


# --- logits -------------------------------------------------------------------------------------------------


def test_logits_are_the_module_on_normalised_images(random_images: Images) -> None:
    classifier, images = make(), random_images(5)
    classifier.module.eval()
    mean, std = torch.tensor(SIZE.mean).view(3, 1, 1), torch.tensor(SIZE.std).view(3, 1, 1)
    slow = torch.cat([classifier.module(((image / 255 - mean) / std)[None]) for image in images])
    torch.testing.assert_close(classifier.logits(images), slow, rtol=1e-4, atol=1e-5)


def test_logits_keep_the_graph_for_heatmaps(random_images: Images) -> None:
    classifier = make()
    classifier.logits(random_images(2)).sum().backward()
    assert classifier.module.head.weight.grad is not None


@pytest.mark.parametrize(
    "images",
    [torch.zeros(2, 3, 8, 8), torch.zeros(3, 8, 8, dtype=torch.uint8), torch.zeros(2, 1, 8, 8).byte()],
)
def test_images_of_another_kind_are_refused(images: Tensor) -> None:
    with pytest.raises(InputError, match="uint8 of shape"):
        make().logits(images)


def test_more_outputs_than_classes_names_both_numbers(random_images: Images) -> None:
    classifier = Classifier(Fixed(lambda x: torch.zeros(len(x), 5)), ["a", "b", "c"], SIZE)
    with pytest.raises(ModelError, match=r"5 outputs, but 3 classes"):
        classifier.logits(random_images(2))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([torch.zeros(2, 2)], "returns list"),
        (torch.zeros(2, 2, 1), r"\(2, 2, 1\)"),
        (torch.zeros(3, 2), r"\(3, 2\)"),
        (torch.zeros(2, 2, dtype=torch.int64), "floating point"),
    ],
)
def test_other_answers_are_refused(answer: Any, message: str, random_images: Images) -> None:
    with pytest.raises(ModelError, match=message):
        Classifier(Fixed(answer), ["a", "b"], SIZE).logits(random_images(2))


def test_a_module_that_wants_another_size_says_so(random_images: Images) -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 2))
    with pytest.raises(ModelError, match=r"shape \(2, 3, 32, 32\)"):
        Classifier(module, ["a", "b"], SIZE).logits(random_images(2))


def test_nan_is_passed_on(random_images: Images) -> None:
    broken = Classifier(Fixed(lambda x: torch.full((len(x), 2), float("nan"))), ["a", "b"], SIZE)
    assert broken.logits(random_images(2)).isnan().all()
    assert np.isnan(broken.probabilities(random_images(2))).all()


def test_probabilities_do_not_depend_on_the_mode_and_restore_it(random_images: Images) -> None:
    classifier = make()
    classifier.module.train()
    classifier.module.stage2.eval()
    before = [part.training for part in classifier.module.modules()]
    training = classifier.probabilities(random_images(7), batch_size=3)
    assert [part.training for part in classifier.module.modules()] == before
    classifier.module.eval()
    np.testing.assert_allclose(training, classifier.probabilities(random_images(7)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(training.sum(axis=1), 1, rtol=1e-5)
    assert training.shape == (7, 3)
    assert training.dtype == np.float32
    assert classifier.probabilities(random_images(7)[:0]).shape == (0, 3)


def test_evaluation_mode_is_left_after_an_error() -> None:
    module = nn.Sequential(nn.Dropout(), nn.BatchNorm2d(3).eval()).train()
    module[1].eval()
    inside = []
    with pytest.raises(ZeroDivisionError), evaluation_mode(module):
        inside.append([part.training for part in module.modules()] + [1 / 0])
    with evaluation_mode(module):
        inside = [part.training for part in module.modules()]
    assert inside == [False, False, False]
    assert [part.training for part in module.modules()] == [True, True, False]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_modules_of_other_precision_give_float32_logits(dtype: torch.dtype, random_images: Images) -> None:
    classifier = make()
    exact = classifier.probabilities(random_images(4))
    classifier.module.to(dtype)
    assert classifier.logits(random_images(4)).dtype == torch.float32
    np.testing.assert_allclose(classifier.probabilities(random_images(4)), exact, atol=0.03)


# --- digest -------------------------------------------------------------------------------------------------


def test_digest_ignores_memory_format_mode_and_gradients(random_images: Images) -> None:
    classifier = make()
    before = classifier.digest()
    classifier.module.to(memory_format=torch.channels_last).train()
    classifier.module.head.weight.grad = torch.ones_like(classifier.module.head.weight)
    classifier.module.head.weight.requires_grad_(False)
    assert classifier.digest() == before
    assert make().digest() == before


def _next_float(classifier: Classifier) -> None:
    with torch.no_grad():
        weight = classifier.module.stage1[0].conv1.weight
        weight.view(-1)[3] = torch.nextafter(weight.view(-1)[3], torch.tensor(9.0))


@pytest.mark.parametrize(
    "change",
    [
        _next_float,
        lambda c: c.module.stage1[0].norm1.running_var.view(-1)[:1].mul_(1.5),
        lambda c: c.module.half(),
        lambda c: setattr(c, "target_layer", "stage2"),
        lambda c: setattr(c, "classes", ("a", "c", "b")),
        lambda c: setattr(c, "classes", ("a", "b", "d")),
        *[
            lambda c, k=key, v=value: setattr(c, "preprocessing", SIZE.model_copy(update={k: v}))
            for key, value in {
                "size": (32, 31),
                "mean": (0.485, 0.456, 0.407),
                "std": (0.229, 0.224, 0.226),
                "resize": "letterbox",
                "antialias": False,
            }.items()
        ],
    ],
)
def test_digest_changes_with_everything_the_outputs_depend_on(change: Callable[[Classifier], Any]) -> None:
    classifier = make()
    before = classifier.digest()
    change(classifier)
    assert classifier.digest() != before


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(-1, 1, width=32), min_size=6, max_size=6))
def test_equal_weights_equal_digest_and_only_then(values: list[float]) -> None:
    def of(numbers: list[float]) -> str:
        module = nn.Sequential(nn.Flatten(), nn.Linear(3, 2, bias=False))
        with torch.no_grad():
            module[1].weight.copy_(torch.tensor(numbers).view(2, 3))
        return Classifier(module, ["a", "b"], Preprocessing(size=(1, 1))).digest()

    other = [*values[:5], 0.5 if values[5] != 0.5 else 0.25]
    assert of(values) == of(list(values))
    assert of(values) != of(other)


def test_digest_of_a_logged_model_holds_until_the_weights_change() -> None:
    classifier = make(source_digest="f" * 64)
    assert classifier.digest() == "f" * 64
    _next_float(classifier)
    assert classifier.digest() == Classifier.digest(_without_source(classifier)) != "f" * 64
    classifier.source_digest = "e" * 64
    assert classifier.digest() == "e" * 64


def _without_source(classifier: Classifier) -> Classifier:
    return Classifier(
        classifier.module,
        classifier.classes,
        classifier.preprocessing,
        builder=classifier.builder,
        builder_args=classifier.builder_args,
    )


def test_digest_is_the_stated_hash_of_the_saved_files(tmp_path) -> None:
    import hashlib

    classifier = make(target_layer="stage3")
    classifier.save(tmp_path)
    lines = b"".join(
        name.encode() + b"\0" + hashlib.sha256((tmp_path / name).read_bytes()).hexdigest().encode() + b"\n"
        for name in ("classifier.json", "model.safetensors")
    )
    assert classifier.digest() == hashlib.sha256(lines).hexdigest()


def test_digest_needs_no_builder_but_saving_does(tmp_path) -> None:
    classifier = Classifier(nn.Linear(3, 2), ["a", "b"], SIZE)
    assert len(classifier.digest()) == 64
    with pytest.raises(ModelError, match="no `builder`"):
        classifier.save(tmp_path / "never")
    assert not (tmp_path / "never").exists()


def test_the_saved_spec_is_readable_json(tmp_path) -> None:
    make(target_layer="stage3", classes=("a", "é")).save(tmp_path)
    spec = json.loads((tmp_path / "classifier.json").read_text(encoding="utf-8"))
    assert spec["classes"] == ["a", "é"]
    assert spec["builder"] == "resnet_small"
    assert spec["target_layer"] == "stage3"
    assert spec["preprocessing"]["size"] == [32, 32]


def test_its_text_names_a_few_of_many_classes() -> None:
    assert "classes=['a', 'b', 'c'], size=(32, 32))" in repr(make())
    many = repr(make(classes=tuple(f"class {number}" for number in range(1000))))
    assert "'class 7' and 992 more], size" in many
    assert len(many) < 200
