"""A frozen backbone: features once, the last layer on them, then the whole network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from camgate.data.dataset import ImageDataset, collate
from camgate.data.preprocessing import Preprocessing
from camgate.errors import InputError, ModelError
from camgate.models import frozen
from camgate.models.builders import build
from camgate.models.classifier import Classifier
from camgate.models.evaluation import evaluate_classifier
from camgate.models.frozen import features_of, head_of
from camgate.models.training import TrainingResult, train_classifier

TINY = {"widths": (8, 8, 16, 16), "blocks": (1, 1, 1)}
SIZE = Preprocessing(size=(32, 32))
COMMON: dict[str, Any] = {
    "builder_args": TINY,
    "preprocessing": SIZE,
    "batch_size": 16,
    "learning_rate": 0.01,
    "progress": False,
}


@pytest.fixture(scope="module")
def pretrained(squares: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a network with seven other classes, whose features know colours."""
    folder = tmp_path_factory.mktemp("weights")
    result = train_classifier(squares, **COMMON, epochs=3)
    state = result.classifier.module.state_dict()
    state["head.weight"], state["head.bias"] = torch.zeros(7, 16), torch.zeros(7)  # seven other classes
    torch.save(state, folder / "w.pth")
    return folder / "w.pth"


@pytest.fixture(scope="module")
def head_only(squares: pd.DataFrame, pretrained: Path) -> TrainingResult:
    return train_classifier(squares, **COMMON, weights=pretrained, frozen_epochs=30, epochs=0)


def test_the_backbone_stays_and_the_head_learns(
    head_only: TrainingResult, pretrained: Path, squares: pd.DataFrame
) -> None:
    before = torch.load(pretrained, weights_only=True)
    after = head_only.classifier.module.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in after if not name.startswith("head."))
    assert evaluate_classifier(head_only.classifier, squares).accuracy > 0.8
    assert set(head_only.history["phase"]) == {"frozen"}
    assert head_only.parameters["frozen_epochs"] == 30
    assert head_only.parameters["weights_left_random"] == ["head.weight", "head.bias"]
    assert head_only.history.loc[head_only.best_epoch - 1, "epoch"] == head_only.best_epoch


def test_features_are_what_the_network_itself_gives_its_last_layer(
    head_only: TrainingResult, squares: pd.DataFrame
) -> None:
    data = ImageDataset(squares, SIZE, head_only.classifier.classes)
    batch = collate([data[row] for row in range(10)])
    features, labels = features_of(head_only.classifier, "head", [batch])
    head = head_only.classifier.module.get_submodule("head")
    with torch.no_grad():
        torch.testing.assert_close(head(features), head_only.classifier.logits(batch.images))
    assert labels.tolist() == batch.labels.tolist()
    assert not head._forward_pre_hooks


def test_fine_tuning_goes_on_from_there(pretrained: Path, squares: pd.DataFrame) -> None:
    told: list[int] = []
    result = train_classifier(
        squares,
        **COMMON,
        weights=pretrained,
        frozen_epochs=3,
        epochs=2,
        on_epoch=lambda epoch, metrics: told.append(epoch),
    )
    assert result.history["epoch"].tolist() == told == [1, 2, 3, 4, 5]
    assert result.history["phase"].tolist() == ["frozen"] * 3 + ["whole"] * 2
    assert result.best_epoch > 3
    before = torch.load(pretrained, weights_only=True)
    after = result.classifier.module.state_dict()
    assert not torch.equal(after["stem.0.weight"], before["stem.0.weight"])
    assert result.parameters["backbone_rate"] == 0.1


def test_fine_tuning_that_only_does_harm_is_undone(pretrained: Path, squares: pd.DataFrame) -> None:
    options = {**COMMON, "weights": pretrained, "frozen_epochs": 30, "learning_rate": 30.0}
    result = train_classifier(squares, **options, epochs=1, backbone_rate=1.0)
    assert result.best_epoch <= 30
    before = torch.load(pretrained, weights_only=True)
    assert torch.equal(result.classifier.module.state_dict()["stem.0.weight"], before["stem.0.weight"])


def test_a_small_backbone_rate_moves_the_backbone_less(pretrained: Path, squares: pd.DataFrame) -> None:
    before = torch.load(pretrained, weights_only=True)["stage1.0.conv1.weight"]
    moves = []
    for rate in (0.001, 1.0):
        options = {**COMMON, "weights": pretrained, "epochs": 1, "backbone_rate": rate}
        after = train_classifier(squares, **options, frozen_epochs=1).classifier.module.state_dict()
        moves.append(float((after["stage1.0.conv1.weight"] - before).norm()))
    assert moves[0] < 0.05 * moves[1]


def test_the_same_seed_gives_the_same_head(head_only: TrainingResult, pretrained: Path, squares: Any) -> None:
    torch.manual_seed(5)
    again = train_classifier(squares, **COMMON, weights=pretrained, frozen_epochs=30, epochs=0)
    assert again.classifier.digest() == head_only.classifier.digest()


def test_features_that_are_too_many_for_memory_lie_in_a_file(
    head_only: TrainingResult, squares: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = ImageDataset(squares, SIZE, head_only.classifier.classes)
    batches = [collate([data[row] for row in range(start, start + 8)]) for start in (0, 8, 16)]
    inside, labels = features_of(head_only.classifier, "head", batches)
    monkeypatch.setattr(frozen, "FEATURE_LIMIT", 8 * 16 * 4 + 1)
    stored, again = features_of(head_only.classifier, "head", batches, scratch=tmp_path)
    assert (tmp_path / "features").stat().st_size == inside.nbytes
    torch.testing.assert_close(stored, inside, rtol=0, atol=0)
    assert again.tolist() == labels.tolist()


def test_unreadable_images_are_left_out(head_only: TrainingResult, squares: pd.DataFrame) -> None:
    data = ImageDataset(squares, SIZE, head_only.classifier.classes)
    batch = collate([data[row] for row in range(6)])
    batch.faults = (None, "broken", None, None, None, "broken")
    features, labels = features_of(head_only.classifier, "head", [batch])
    assert len(features) == len(labels) == 4


class _TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(3, 2), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = x.mean(dim=(2, 3))
        return self.one(x) + self.two(x)


def _conv_head() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.mark.parametrize("make", [_TwoHeads, _conv_head])
def test_networks_without_one_last_linear_layer_are_refused(make: Callable[[], nn.Module]) -> None:
    with pytest.raises(ModelError, match="does not: leave `frozen_epochs` at 0"):
        head_of(Classifier(make(), ["a", "b"], SIZE))


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("torchvision:mobilenet_v3_small", "classifier.3"),
        ("torchvision:densenet121", "classifier"),
        ("timm:resnet10t", "fc"),
    ],
)
def test_the_last_layer_is_found(name: str, head: str) -> None:
    assert head_of(Classifier(build(name, {}, 3).eval(), ["a", "b", "c"], SIZE)) == head


@pytest.mark.parametrize(
    "options", [{"epochs": 0}, {"epochs": 1, "frozen_epochs": -1}, {"backbone_rate": 0}, {"backbone_rate": 2}]
)
def test_options_out_of_range(options: dict[str, Any], squares: pd.DataFrame) -> None:
    with pytest.raises(InputError, match=next(reversed(options))):
        train_classifier(squares, **{**COMMON, **options})
