from __future__ import annotations

import hashlib
import io
import logging
import os
import random
import subprocess
import sys
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from camgate.data.dataset import ImageDataset, collate
from camgate.data.preprocessing import Preprocessing
from camgate.data.splits import training_rows
from camgate.errors import InputError, ModelError
from camgate.models import loading, training
from camgate.models.classifier import Classifier
from camgate.models.evaluation import evaluate_classifier
from camgate.models.progress import ProgressLine
from camgate.models.training import TrainingResult, train_classifier

TINY = {"widths": (8, 8, 16, 16), "blocks": (1, 1, 1)}
QUICK: dict[str, Any] = {
    "builder_args": TINY,
    "preprocessing": Preprocessing(size=(32, 32)),
    "batch_size": 16,
    "epochs": 5,
    "learning_rate": 0.01,
    "progress": False,
}


@pytest.fixture(scope="module")
def trained(squares: pd.DataFrame) -> TrainingResult:
    return train_classifier(squares, **QUICK)


def test_it_learns(trained: TrainingResult, squares: pd.DataFrame) -> None:
    assert evaluate_classifier(trained.classifier, squares).accuracy > 0.9
    assert trained.classifier.classes == ("blue", "red")
    assert not any(part.training for part in trained.classifier.module.modules())
    assert trained.classifier.device.type == "cpu"


def best_epoch_slowly(losses: list[float]) -> int:
    """The latest epoch that is at most 0.01 above the lowest loss before it."""
    return max(n + 1 for n, loss in enumerate(losses) if all(loss <= past + 0.01 for past in losses[:n]))


def test_history_and_parameters(trained: TrainingResult) -> None:
    assert trained.history["epoch"].tolist() == [1, 2, 3, 4, 5]
    assert set(trained.history["phase"]) == {"training"}
    assert {"train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "learning_rate"} <= set(
        trained.history.columns
    )
    assert trained.history["train_loss"].iloc[-1] < trained.history["train_loss"].iloc[0]
    assert trained.best_epoch == best_epoch_slowly(trained.history["validation_loss"].tolist())
    wanted = {"seed": 0, "batch_size": 16, "builder": "resnet_small", "unreadable_images": 0}
    assert wanted.items() <= trained.parameters.items()


def test_what_was_trained_can_be_saved_and_loaded(trained: TrainingResult, tmp_path: Path) -> None:
    loaded = Classifier.load(trained.classifier.save(tmp_path))
    assert loaded.digest() == trained.classifier.digest()


def test_the_same_seed_gives_the_same_weights(trained: TrainingResult, squares: pd.DataFrame) -> None:
    torch.manual_seed(99)  # the caller's own random numbers must not matter
    again = train_classifier(squares, **QUICK)
    assert again.classifier.digest() == trained.classifier.digest()
    other = train_classifier(squares, **{**QUICK, "epochs": 1, "seed": 1})
    assert other.classifier.digest() != trained.classifier.digest()


def validation_loss(result: TrainingResult, manifest: pd.DataFrame, seed: int = 0) -> float:
    _, rows = training_rows(manifest, seed=seed)
    classifier = result.classifier
    batch = collate(list(ImageDataset(rows, classifier.preprocessing, classifier.classes)))  # type: ignore[arg-type]
    with torch.inference_mode():
        return float(F.cross_entropy(classifier.logits(batch.images), batch.labels))


def test_early_stopping_keeps_the_best_epoch(noisy_squares: pd.DataFrame) -> None:
    result = train_classifier(noisy_squares, **{**QUICK, "epochs": 30, "patience": 2, "augmentation": None})
    losses = result.history["validation_loss"].tolist()
    assert len(losses) < 30
    assert result.best_epoch == len(losses) - 2 == best_epoch_slowly(losses)
    kept = losses[result.best_epoch - 1]
    assert kept <= min(losses) + 0.01 < losses[-1]
    assert validation_loss(result, noisy_squares) == pytest.approx(kept, rel=1e-4)


def test_training_is_quiet_when_lightning_was_imported_under_its_other_name() -> None:
    code = (
        "import logging, sys, lightning.pytorch, pytorch_lightning\n"
        "from lightning_utilities.core.rank_zero import rank_zero_info\n"
        "from camgate.models.surroundings import quiet_lightning\n"
        "logging.basicConfig(level=logging.INFO, stream=sys.stdout)\n"
        "rank_zero_info('before')\n"
        "with quiet_lightning():\n"
        "    rank_zero_info('during')\n"
        "rank_zero_info('after')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    said = done.stdout + done.stderr
    assert "before" in said
    assert "after" in said
    assert "during" not in said


def test_nothing_around_is_changed(
    squares: pd.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("lightning.pytorch")  # which sets its logger's level when it is first imported
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    states = (torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate())
    level = logging.getLogger("lightning.pytorch").level
    filters = list(warnings.filters)
    train_classifier(squares, **{**QUICK, "epochs": 1})
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])
    assert random.getstate() == states[2]
    assert logging.getLogger("lightning.pytorch").level == level
    assert warnings.filters == filters
    assert not torch.are_deterministic_algorithms_enabled()
    assert "PL_GLOBAL_SEED" not in os.environ
    assert list(tmp_path.iterdir()) == []  # no lightning_logs, no checkpoints
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_on_epoch_and_the_plain_progress_line(
    squares: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[tuple[int, Mapping[str, float]]] = []
    result = train_classifier(
        squares,
        **{**QUICK, "epochs": 2, "progress": True},
        on_epoch=lambda epoch, metrics: seen.append((epoch, dict(metrics))),
    )
    assert [epoch for epoch, _ in seen] == [1, 2]
    assert seen[1][1]["validation_loss"] == result.history["validation_loss"][1]
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("training 2/2: loss ")
    assert "\x1b" not in "".join(lines)


def test_on_a_terminal_it_is_one_line() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    with ProgressLine(epochs=1, batches=2, stream=stream) as line:
        line.batch_done()
        line.batch_done()
        line.epoch_done(1, {"train_loss": 1, "validation_loss": 0.5, "validation_accuracy": 0.25})
    assert "training 1/1" in stream.getvalue()
    assert "accuracy 0.250" in stream.getvalue()
    assert stream.getvalue().count("\n") <= 1


def test_a_loss_that_is_not_finite_is_an_error(squares: pd.DataFrame) -> None:
    with pytest.raises(ModelError, match=r"loss is (nan|inf).*lower `learning_rate`"):
        train_classifier(squares, **{**QUICK, "learning_rate": 1e30, "augmentation": None})
    assert not torch.are_deterministic_algorithms_enabled()


@given(total=st.integers(1, 500), warm_up=st.floats(0.05, 0.6))
def test_the_learning_rate_rises_once_and_falls_to_almost_nothing(total: int, warm_up: float) -> None:
    from camgate.models.fitting import one_cycle

    rates = [one_cycle(step, total, warm_up=warm_up) for step in range(total + 1)]
    top = rates.index(max(rates))
    assert all(0 < rate <= 1 for rate in rates)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] < 0.002
    if total >= 50:
        assert rates[0] == pytest.approx(0.04)
        assert abs(top - warm_up * total) <= 1


# --- what goes in -------------------------------------------------------------------------------------------


def test_one_class_only(squares: pd.DataFrame) -> None:
    with pytest.raises(InputError, match="two classes"):
        train_classifier(squares[squares["label"] == "red"], **QUICK)


def test_classes_and_labels_have_to_agree(squares: pd.DataFrame) -> None:
    with pytest.raises(InputError, match=r"not among the classes.*red"):
        train_classifier(squares, classes=["blue", "green"], **QUICK)
    with pytest.raises(InputError, match="without a training row: green"):
        train_classifier(squares, classes=["blue", "green", "red"], **QUICK)


@pytest.mark.parametrize(
    "options",
    [
        {"epochs": 0},
        {"batch_size": 1},
        {"patience": 0},
        {"learning_rate": 0},
        {"learning_rate": float("nan")},
    ],
)
def test_options_out_of_range(options: dict[str, Any], squares: pd.DataFrame) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        train_classifier(squares, **{**QUICK, **options})


@pytest.mark.parametrize("memory_limit", [1 << 30, 0], ids=["in memory", "read again"])
@pytest.mark.parametrize("count", [3, 6])
def test_unreadable_images(
    squares: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory_limit: int, count: int
) -> None:
    monkeypatch.setattr(training, "batches", partial(loading.batches, memory_limit=memory_limit))
    frame = squares[squares["split"] == "train"].reset_index(drop=True)
    rows, _ = training_rows(frame, seed=0)
    broken = rows["image_id"].iloc[:count].tolist()
    (tmp_path / "broken").mkdir()
    for name in broken:
        path = tmp_path / "broken" / f"{Path(name).name}.png"
        path.write_bytes(b"\x89PNG\r\n\x1a\n")
        frame.loc[frame["image_id"] == name, "image"] = str(path)
    if count == 3:
        result = train_classifier(frame, **{**QUICK, "epochs": 1})
        assert result.parameters["unreadable_images"] == 3
    else:
        with pytest.raises(InputError, match=r"6 of \d+ images cannot be read"):
            train_classifier(frame, **{**QUICK, "epochs": 1})


def test_reading_again_every_epoch_trains_as_well(
    squares: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "batches", partial(loading.batches, memory_limit=0))
    result = train_classifier(squares, **QUICK)
    assert evaluate_classifier(result.classifier, squares).accuracy > 0.9


# --- weights to start from ----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".ckpt"])
def test_training_starts_from_a_file(
    trained: TrainingResult, squares: pd.DataFrame, tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"start{suffix}"
    state = {name: value.contiguous() for name, value in trained.classifier.module.state_dict().items()}
    if suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({"state_dict": state} if suffix == ".ckpt" else state, path)
    result = train_classifier(squares, **{**QUICK, "epochs": 1, "learning_rate": 1e-5}, weights=path)
    assert result.history["train_accuracy"][0] > 0.9
    assert result.parameters["weights_left_random"] == []
    assert result.parameters["weights_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


# --- the extra ----------------------------------------------------------------------------------------------


def test_classifier_and_builders_need_no_extra() -> None:
    code = """
import sys
for name in ("lightning", "lightning.pytorch", "torchmetrics", "pytorch_lightning"):
    sys.modules[name] = None
import pandas as pd
from camgate.errors import InputError
from camgate.models.builders import build
from camgate.models.classifier import Classifier
from camgate.models.evaluation import evaluate_classifier
from camgate.models.training import train_classifier
build("resnet_small", None, 2)
try:
    train_classifier(pd.DataFrame({"image": ["a", "b"], "label": ["x", "y"]}))
except InputError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert "pip install 'camgate[training]'" in done.stdout
