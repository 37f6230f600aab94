"""A frozen backbone: where the head is, what goes into it, and two phases of training from a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from camgate.data.manifest import validate_manifest
from camgate.data.preprocessing import Preprocessing
from camgate.errors import InputError, ModelError
from camgate.models import frozen, loading, training
from camgate.models.augmentation import Augmentation
from camgate.models.builders import build
from camgate.models.classifier import Classifier
from camgate.models.evaluation import evaluate_classifier
from camgate.models.loading import Decoded, MemoryBatches
from camgate.models.training import TrainingResult, train_classifier
from camgate.models.transfer import cache_features, features_of, find_head

TINY = {"widths": (8, 8, 16, 16), "blocks": (1, 1, 1)}
HOW = Preprocessing(size=(32, 32))
COMMON: dict[str, Any] = {
    "builder_args": TINY,
    "preprocessing": HOW,
    "batch_size": 16,
    "learning_rate": 0.003,
    "progress": False,
}


# --- the head -----------------------------------------------------------------------------------------------


def wrapped(net: nn.Module, size: int = 64) -> Classifier:
    return Classifier(net, ["a", "b", "c"], Preprocessing(size=(size, size)))


NETS = [
    ("resnet_small", "head", (128,)),
    ("torchvision:resnet18", "fc", (512,)),
    ("torchvision:mobilenet_v3_small", "classifier.3", (1024,)),
    ("torchvision:efficientnet_b0", "classifier.1", (1280,)),
    ("torchvision:densenet121", "classifier", (1024,)),
    ("torchvision:regnet_y_400mf", "fc", (440,)),
    ("torchvision:squeezenet1_1", "classifier.1", (512, 3, 3)),  # convolution, ReLU, mean
    ("timm:resnetv2_50", "head.fc", (2048, 1, 1)),  # convolution of one position
    ("timm:vit_tiny_patch16_224", "head", (192,)),
    ("timm:convnext_atto", "head.fc", (320,)),
]


@pytest.mark.parametrize(("name", "head_name", "shape"), NETS)
def test_the_head_on_its_inputs_gives_the_logits_of_the_network(
    name: str, head_name: str, shape: tuple[int, ...], random_images: Callable[..., Tensor]
) -> None:
    torch.manual_seed(0)
    net = build(name, {"img_size": 64} if "vit" in name else {}, 3)
    classifier = wrapped(net)
    state = {key: value.clone() for key, value in net.state_dict().items()}
    images = random_images(3, 64)
    head = find_head(classifier, images)
    assert (head.name, head.module) == (head_name, net.get_submodule(head_name))
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert net.training
    with torch.no_grad():
        head.module.weight.normal_(0, 0.1)  # as after training
    features = features_of(classifier, head, images)
    assert features.shape == (3, *shape)
    assert not features.requires_grad
    assert not features.is_inference()  # such tensors cannot be trained on
    net.eval()
    assert torch.allclose(head.logits(features), classifier.logits(images), rtol=1e-4, atol=1e-5)
    assert not [part for part in net.modules() if part._forward_hooks or part._forward_pre_hooks]


class Positions(nn.Module):
    """A linear layer at each of four positions; what follows is up to the test."""

    def __init__(self, after: Callable[[Tensor], Tensor], *, zeros: bool = False) -> None:
        super().__init__()
        self.top = nn.Linear(8, 3)
        self.patches = nn.Conv2d(3, 8, 16, 16)
        self.after = after
        if zeros:
            nn.init.zeros_(self.top.weight)
            nn.init.zeros_(self.top.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.top(self.patches(x).flatten(2).transpose(1, 2)))


@pytest.mark.parametrize(
    ("after", "name"),
    [
        (lambda y: y.mean(1), "mean"),
        (lambda y: y[:, 0], "first"),
        (lambda y: y.relu_().mean(1), "mean of the positive part"),
    ],
)
@pytest.mark.parametrize("zeros", [False, True])
def test_what_follows_the_head_is_found(
    after: Callable[[Tensor], Tensor], name: str, zeros: bool, random_images: Callable[..., Tensor]
) -> None:
    net = Positions(after, zeros=zeros)
    head = find_head(wrapped(net, 32), random_images(2))
    assert (head.name, head.after) == ("top", name)
    assert bool(net.top.weight.any()) is not zeros


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 16, 16), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head, self.head_dist = nn.Linear(8, 3), nn.Linear(8, 3)
        for layer in (self.head, self.head_dist):  # as some networks begin
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.backbone(x)
        return (self.head(x) + self.head_dist(x)) / 2


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.layer(x.mean((2, 3))))


class Nothing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (TwoHeads(), r"last layer `head_dist`.*frozen_epochs=0"),
        (Twice(), r"last layer `layer`.*frozen_epochs=0"),
        (Positions(lambda y: y.amax(1)), r"last layer `top`"),
        (Nothing(), r"no nn.Linear and no nn.Conv2d"),
    ],
)
def test_a_last_layer_that_does_not_stand_alone_is_refused(
    net: nn.Module, message: str, random_images: Callable[..., Tensor]
) -> None:
    with pytest.raises(ModelError, match=message):
        find_head(wrapped(net, 32), random_images(2))


# --- the features -------------------------------------------------------------------------------------------


@pytest.fixture
def rows(random_images: Callable[..., Tensor]) -> Decoded:
    images = random_images(10)
    regions = torch.ones(10, 32, 32, dtype=torch.bool)
    return Decoded(images, regions, regions.any((1, 2)), torch.arange(10) % 3)


@pytest.fixture
def network() -> Classifier:
    torch.manual_seed(0)
    net = build("resnet_small", TINY, 3)
    net(torch.randn(8, 3, 32, 32))  # statistics of batch normalisation that are not those of the start
    return Classifier(net, ["a", "b", "c"], HOW)


def test_features_are_those_of_evaluation_mode_in_order(
    network: Classifier, rows: Decoded, tmp_path: Path
) -> None:
    network.module.train()
    before = {name: value.clone() for name, value in network.module.state_dict().items()}
    head = find_head(network, rows.images)
    cached = cache_features(network, head, MemoryBatches(rows, 4), count=10, scratch=tmp_path)
    assert len(cached) == 10
    assert torch.equal(cached.labels, rows.labels)
    network.module.eval()
    with torch.no_grad():
        wanted = network.module[:-1](HOW.normalise(rows.images))
    assert torch.allclose(cached.images, wanted, atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in network.module.state_dict().items())
    assert list(tmp_path.iterdir()) == []


def test_features_above_the_limit_are_kept_in_a_file(
    network: Classifier, rows: Decoded, tmp_path: Path
) -> None:
    head = find_head(network, rows.images)
    caches = [
        cache_features(
            network, head, MemoryBatches(rows, 4), count=12, scratch=tmp_path, memory_limit=limit
        ).images
        for limit in (4 * 12 * 16, 4 * 12 * 16 - 1)
    ]
    assert torch.equal(*caches)
    (file,) = tmp_path.iterdir()
    kept = np.fromfile(file, dtype=np.float32).reshape(12, 16)
    assert np.array_equal(kept[:10], caches[1].numpy())


def test_a_disk_without_room_is_an_error_before_anything_is_written(
    network: Classifier, rows: Decoded, tmp_path: Path
) -> None:
    head = find_head(network, rows.images)
    with pytest.raises(InputError, match=r"need 6400000\.0 GB.*TMPDIR"):
        cache_features(network, head, MemoryBatches(rows, 4), count=10**14, scratch=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_augmented_copies_stand_beside_the_images(network: Classifier, rows: Decoded, tmp_path: Path) -> None:
    head = find_head(network, rows.images)
    make = partial(cache_features, network, head, count=10, scratch=tmp_path)
    plain = make(MemoryBatches(rows, 10))
    options: dict[str, Any] = {"copies": 2, "augmentation": Augmentation()}
    copies = make(MemoryBatches(rows, 10), **options, seed=1)
    assert len(copies) == 30
    assert torch.equal(copies.labels, rows.labels.repeat(3))
    assert torch.equal(copies.images[:10], plain.images)
    assert not torch.allclose(copies.images[10:20], plain.images, atol=1e-3)
    assert not torch.allclose(copies.images[10:20], copies.images[20:], atol=1e-3)
    assert torch.equal(copies.images, make(MemoryBatches(rows, 10), **options, seed=1).images)
    assert not torch.equal(copies.images, make(MemoryBatches(rows, 10), **options, seed=2).images)


# --- from end to end ----------------------------------------------------------------------------------------

COLOURS = {"red": (220, 40, 40), "blue": (40, 40, 220), "green": (40, 200, 40)}
SHAPES = {"wide": (6, 20), "tall": (20, 6)}


def pictures(folder: Path, *, label: str, count: int) -> pd.DataFrame:
    """Bars in three colours and two directions on noise; `label` names what is told apart."""
    chance = np.random.default_rng(4)
    found = []
    folder.mkdir()
    for number in range(count):
        colour, shape = list(COLOURS)[number % 3], list(SHAPES)[number // 3 % 2]
        pixels = chance.integers(0, 80, (32, 32, 3), dtype=np.uint8)
        height, width = SHAPES[shape]
        top, left = chance.integers(0, 32 - height), chance.integers(0, 32 - width)
        pixels[top : top + height, left : left + width] = COLOURS[colour]
        path = folder / f"{number}.png"
        Image.fromarray(pixels).save(path)
        split = ("test", "validation", "train", "train", "train")[number // 6 % 5]
        found.append({"image": str(path), "label": label.format(colour=colour, shape=shape), "split": split})
    return validate_manifest(pd.DataFrame(found))


@pytest.fixture(scope="module")
def by_shape(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return pictures(tmp_path_factory.mktemp("bars") / "images", label="{shape}", count=180)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a network that tells six kinds of bars apart."""
    folder = tmp_path_factory.mktemp("pretrained")
    manifest = pictures(folder / "images", label="{colour} {shape}", count=360)
    result = train_classifier(manifest, **{**COMMON, "learning_rate": 0.01}, epochs=10)
    assert evaluate_classifier(result.classifier, manifest).accuracy > 0.9
    save_file(result.classifier.module.state_dict(), folder / "bars.safetensors")
    return folder / "bars.safetensors"


def backbone(module: nn.Module) -> dict[str, Tensor]:
    return {name: value for name, value in module.state_dict().items() if not name.startswith("head.")}


def equal(states: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> bool:
    return states.keys() == others.keys() and all(torch.equal(states[name], others[name]) for name in states)


def start(path: Path) -> dict[str, Tensor]:
    return {name: value for name, value in load_file(path).items() if not name.startswith("head.")}


FROZEN: dict[str, Any] = {**COMMON, "frozen_epochs": 30, "patience": 30, "epochs": 0}


@pytest.fixture(scope="module")
def head_only(by_shape: pd.DataFrame, pretrained: Path) -> TrainingResult:
    return train_classifier(by_shape, **FROZEN, weights=pretrained)


def test_the_frozen_phase_trains_the_head_and_nothing_else(
    head_only: TrainingResult, by_shape: pd.DataFrame, pretrained: Path
) -> None:
    assert evaluate_classifier(head_only.classifier, by_shape).accuracy > 0.9
    assert equal(backbone(head_only.classifier.module), start(pretrained))
    assert not any(part.training for part in head_only.classifier.module.modules())
    history = head_only.history
    assert history["epoch"].tolist() == list(range(1, 31))
    assert set(history["phase"]) == {"frozen backbone"}
    assert history["train_loss"].iloc[-1] < history["train_loss"].iloc[0]
    assert head_only.parameters["head"] == "head"
    assert head_only.parameters["weights_left_random"] == ["head.weight", "head.bias"]
    assert (head_only.parameters["frozen_epochs"], head_only.parameters["epochs"]) == (30, 0)
    assert len(head_only.parameters["weights_sha256"]) == 64


def test_losses_on_features_are_those_of_the_whole_network(
    head_only: TrainingResult, by_shape: pd.DataFrame
) -> None:
    rows = by_shape[by_shape["split"] == "validation"].assign(split="test")
    kept = head_only.history.iloc[head_only.best_epoch - 1]
    evaluation = evaluate_classifier(head_only.classifier, rows)
    assert evaluation.accuracy == pytest.approx(kept["validation_accuracy"])
    shares = head_only.classifier.probabilities(
        torch.stack([sample.image for sample in loading.ImageDataset(rows, HOW, ["tall", "wide"])])
    )
    right = shares[np.arange(len(rows)), [["tall", "wide"].index(label) for label in rows["label"]]]
    assert -np.log(right).mean() == pytest.approx(kept["validation_loss"], rel=1e-4)


def test_fine_tuning_follows_and_changes_the_backbone(
    by_shape: pd.DataFrame, pretrained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[int] = []
    result = train_classifier(
        by_shape,
        **{**FROZEN, "epochs": 8, "frozen_epochs": 4, "progress": True, "learning_rate": 0.01},
        weights=pretrained,
        backbone_rate=0.5,
        on_epoch=lambda epoch, _: seen.append(epoch),
    )
    history = result.history
    assert seen == history["epoch"].tolist() == list(range(1, 13))
    assert history["phase"].tolist() == ["frozen backbone"] * 4 + ["fine-tuning"] * 8
    assert result.best_epoch > 4
    assert not equal(backbone(result.classifier.module), start(pretrained))
    assert evaluate_classifier(result.classifier, by_shape).accuracy > 0.9
    losses = history.groupby("phase")["validation_loss"].min()
    assert losses["fine-tuning"] < losses["frozen backbone"] - 0.01
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[0] == "features: 144 x 16 computed"
    assert [line.split(":")[0] for line in lines[1:]] == [
        *(f"frozen backbone {number}/4" for number in range(1, 5)),
        *(f"fine-tuning {number}/8" for number in range(1, 9)),
    ]


def test_the_backbone_learns_at_its_own_rate(by_shape: pd.DataFrame, pretrained: Path) -> None:
    moved = {}
    for rate in (1.0, 1e-4):
        result = train_classifier(
            by_shape, **{**FROZEN, "frozen_epochs": 1, "epochs": 1}, weights=pretrained, backbone_rate=rate
        )
        assert result.best_epoch == 2
        assert result.history["learning_rate"].iloc[-1] == pytest.approx(3e-6, rel=0.01)  # of the head
        net = result.classifier.module
        moved[rate] = (net.stem[0].weight - start(pretrained)["stem.0.weight"]).abs().max().item()
    assert 0 < moved[1e-4] < 1e-3 * moved[1.0]


def test_the_same_seed_gives_the_same_weights_in_memory_and_on_disk(
    by_shape: pd.DataFrame, pretrained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {**FROZEN, "frozen_epochs": 3, "epochs": 1, "augmented_copies": 1, "weights": pretrained}
    first = train_classifier(by_shape, **options)
    torch.manual_seed(99)
    again = train_classifier(by_shape, **options)
    monkeypatch.setattr(frozen, "cache_features", partial(cache_features, memory_limit=0))
    on_disk = train_classifier(by_shape, **options)
    assert first.classifier.digest() == again.classifier.digest() == on_disk.classifier.digest()
    other = train_classifier(by_shape, **{**options, "seed": 1})
    assert other.classifier.digest() != first.classifier.digest()


def test_images_that_do_not_fit_into_memory_are_read_again(
    by_shape: pd.DataFrame, pretrained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {**FROZEN, "frozen_epochs": 3, "weights": pretrained}
    wanted = train_classifier(by_shape, **options)
    monkeypatch.setattr(training, "batches", partial(loading.batches, memory_limit=0))
    broken = by_shape.copy()
    assert train_classifier(broken, **options).classifier.digest() == wanted.classifier.digest()
    row = broken.index[broken["split"] == "train"][5]
    broken.loc[row, "image"] = str(pretrained)
    assert train_classifier(broken, **options).parameters["unreadable_images"] == 1


def test_fine_tuning_that_only_makes_it_worse_is_not_kept(by_shape: pd.DataFrame, pretrained: Path) -> None:
    result = train_classifier(
        by_shape,
        **{**FROZEN, "epochs": 6, "learning_rate": 3.0, "patience": 2, "frozen_epochs": 30},
        weights=pretrained,
        backbone_rate=1.0,
    )
    tuned = result.history[result.history["phase"] == "fine-tuning"]
    frozen_losses = result.history["validation_loss"][result.history["phase"] == "frozen backbone"]
    assert tuned["validation_loss"].min() > frozen_losses.min() + 0.01
    assert len(tuned) == 2  # the patience
    assert result.best_epoch <= 30
    assert equal(backbone(result.classifier.module), start(pretrained))
    assert evaluate_classifier(result.classifier, by_shape).accuracy > 0.9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frozen_epochs": -1}, "`frozen_epochs` must be at least 0"),
        ({"frozen_epochs": 0, "epochs": 0}, "`epochs` must be at least 1"),
        ({"weights": None}, "`frozen_epochs` without `weights`.*random"),
        ({"augmented_copies": 1, "augmentation": None}, "`augmented_copies` needs an `augmentation`"),
        ({"augmented_copies": 1, "frozen_epochs": 0, "epochs": 1}, "and `frozen_epochs`"),
        ({"backbone_rate": 0.0}, "`backbone_rate` must be positive and at most 1"),
        ({"backbone_rate": 1.5}, "`backbone_rate` must be positive and at most 1"),
        ({"head_learning_rate": float("inf")}, "`head_learning_rate` must be positive and finite"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str, by_shape: pd.DataFrame) -> None:
    with pytest.raises(InputError, match=message):
        train_classifier(by_shape, **{**FROZEN, "weights": "unused.pth", **options})
