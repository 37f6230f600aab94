"""Reference training: a manifest in, a `Classifier` out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from camgate.data.manifest import manifest_classes
from camgate.data.preprocessing import Preprocessing
from camgate.data.splits import training_rows
from camgate.errors import InputError, ModelError
from camgate.models.augmentation import Augmentation
from camgate.models.builders import build
from camgate.models.checks import checked_classes
from camgate.models.classifier import Classifier
from camgate.models.loading import batches, refuse_unreadable
from camgate.models.progress import ProgressLine
from camgate.models.storage import parse_safetensors, restore_state


@dataclass(frozen=True)
class TrainingResult:
    """What training gives.

    Attributes:
        classifier: with the weights of the best epoch, on the CPU, in evaluation mode.
        history: one row an epoch: epoch (from 1), train_loss, train_accuracy, validation_loss,
            validation_accuracy, learning_rate, seconds.
        best_epoch: the latest epoch whose validation loss was the lowest so far, to within 0.01.
        parameters: everything that the result depends on beside the data, as flat values for a run's record.
    """

    classifier: Classifier
    history: pd.DataFrame
    best_epoch: int
    parameters: dict[str, Any]


def train_classifier(
    manifest: pd.DataFrame,
    *,
    classes: Sequence[str] | None = None,
    builder: str = "resnet_small",
    builder_args: Mapping[str, Any] | None = None,
    preprocessing: Preprocessing | None = None,
    target_layer: str | None = None,
    epochs: int = 12,
    batch_size: int = 64,
    learning_rate: float | None = None,
    weight_decay: float = 0.05,
    patience: int = 8,
    augmentation: Augmentation | None = Augmentation(),  # noqa: B008  # frozen
    seed: int = 0,
    workers: int = 0,
    weights: str | Path | None = None,
    allow_code: bool = False,
    progress: bool = True,
    on_epoch: Callable[[int, Mapping[str, float]], None] | None = None,
) -> TrainingResult:
    """Train a network on the training rows of a manifest and keep its best epoch.

    AdamW with a one-cycle learning rate, early stopping on the validation loss, by Lightning. The same seed,
    data and machine (number of threads included) give the same weights.

    Args:
        manifest: validated rows, see `camgate.data.manifest.validate_manifest`. Rows whose `split` is `train`
            are trained on; `validation` (or `val`) rows decide the best epoch, else groups are held out.
        classes: names in the order of the outputs; by default the labels, sorted.
        builder: see `camgate.models.builders.build`.
        builder_args: its arguments.
        preprocessing: by default squash to 128 x 128 px.
        target_layer: kept in the classifier for the audit.
        epochs: the most there will be.
        batch_size: images in a step.
        learning_rate: peak of the cycle; None: 0.01 for `resnet_small` from random weights, 0.001 for all
            else, which suits larger nets and fine-tuning.
        weight_decay: AdamW's, on weights only.
        patience: training stops after so many epochs whose validation loss is above the lowest by over 0.01.
        augmentation: None trains on the images as they are.
        seed: decides first weights, order, augmentation and the rows held out.
        workers: processes that read images; 0 reads in this one.
        weights: file to start from, safetensors or a state dict saved by torch (read without running
            pickled code). A last layer of another shape is left random, so that weights for other
            classes can be used.
        allow_code: also for a builder that is an import path.
        progress: one line on standard error.
        on_epoch: called with the epoch (from 1) and its metrics.

    Raises:
        InputError: options out of range, fewer than two classes, a class without training rows, a label
            that is no class, more than 5 % unreadable images, or the extra `camgate[training]` is missing.
        ModelError: the network cannot be built, weights do not fit, or the loss is not finite.
    """
    if learning_rate is None:
        learning_rate = 1e-2 if builder == "resnet_small" and weights is None else 1e-3
    _check_options(epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, patience=patience)
    fitting = _lightning()
    names = _training_classes(manifest, classes)
    train_rows, validation_rows = training_rows(manifest, seed=seed)
    _check_rows(train_rows, validation_rows, names)
    how = preprocessing or Preprocessing(size=(128, 128))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = build(builder, builder_args, len(names), allow_code=allow_code)
    fresh = [] if weights is None else start_from(module, Path(weights))
    classifier = Classifier(
        module, names, how, target_layer=target_layer, builder=builder, builder_args=builder_args
    )
    options: dict[str, Any] = {"batch_size": batch_size, "workers": workers, "seed": seed}
    training, faults = batches(train_rows, how, names, shuffle=True, **options)
    validation, more_faults = batches(validation_rows, how, names, shuffle=False, **options)
    fitted = fitting.fit(
        classifier,
        training,
        validation,
        settings=fitting.FitSettings(
            epochs=epochs,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            patience=patience,
            seed=seed,
            augmentation=augmentation,
        ),
        progress=ProgressLine(epochs=epochs, batches=len(training), enabled=progress),  # type: ignore[arg-type]
        on_epoch=on_epoch,
    )
    unreadable = {*faults, *more_faults, *fitted.faults}
    refuse_unreadable(sorted(unreadable), len(train_rows) + len(validation_rows))
    parameters = {
        "builder": builder,
        "builder_args": dict(builder_args or {}),
        "classes": list(names),
        "size": list(how.size),
        "resize": how.resize,
        "epochs": epochs,
        "best_epoch": fitted.best_epoch,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "patience": patience,
        "augmentation": str(augmentation),
        "seed": seed,
        "weights": None if weights is None else str(weights),
        "weights_left_random": fresh,
        "train_images": len(train_rows),
        "validation_images": len(validation_rows),
        "unreadable_images": len(unreadable),
    }
    return TrainingResult(classifier, pd.DataFrame(fitted.history), fitted.best_epoch, parameters)


def start_from(module: nn.Module, path: Path) -> list[str]:
    """Copy the weights in `path` into `module`; a last layer of another shape stays as it is.

    Args:
        module: as built.
        path: safetensors (by suffix), else a state dict that `torch.load(weights_only=True)` reads.

    Returns:
        Names of the tensors that were left as they are.

    Raises:
        ModelError: the file is missing, damaged, no state dict, or does not fit; the path is in the message.
    """
    tensors = _state_in(path)
    state = module.state_dict()
    heads = [name for name, part in module.named_modules() if isinstance(part, nn.Linear | nn.Conv2d)][-1:]
    kept = [
        name
        for head in heads
        for name in (f"{head}.weight", f"{head}.bias")
        if name in state and (name not in tensors or tensors[name].shape != state[name].shape)
    ]
    merged = {**tensors, **{name: state[name].clone() for name in kept}}
    restore_state(module, merged, source=str(path), keep_types=True)
    return kept


def _state_in(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ModelError(f"{path}: there is no such file of weights")
    if path.suffix == ".safetensors":
        return parse_safetensors(path.read_bytes(), source=str(path))
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen kinds for a file that it cannot or will not read
        raise ModelError(f"{path}: cannot be read as plain weights ({str(error).splitlines()[0]})") from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ModelError(f"{path}: holds no state dict (names with tensors)")
    return dict(content)


def _lightning() -> ModuleType:
    try:
        from camgate.models import fitting
    except ImportError as error:
        raise InputError(
            f"training needs an extra that is not installed ({error}): pip install 'camgate[training]'"
        ) from error
    return fitting


def _check_options(*, epochs: int, batch_size: int, learning_rate: float, patience: int) -> None:
    for name, value, least in (
        ("epochs", epochs, 1),
        ("batch_size", batch_size, 2),
        ("patience", patience, 1),
    ):
        if value < least:
            raise InputError(f"`{name}` must be at least {least}, got {value}")
    if not 0 < learning_rate < float("inf"):
        raise InputError(f"`learning_rate` must be positive and finite, got {learning_rate}")


def _training_classes(manifest: pd.DataFrame, classes: Sequence[str] | None) -> tuple[str, ...]:
    names = tuple(manifest_classes(manifest) if classes is None else classes)
    if len(set(names)) < 2:
        raise InputError(
            f"training needs at least two classes, got {len(set(names))} ({', '.join(map(str, names))}): "
            "look at the column `label`"
        )
    return checked_classes(names)


def _check_rows(train_rows: pd.DataFrame, validation_rows: pd.DataFrame, names: Sequence[str]) -> None:
    counts = Counter(str(label) for label in train_rows["label"])
    unknown = sorted({*counts, *map(str, validation_rows["label"])} - set(names))
    if unknown:
        raise InputError(f"label(s) that are not among the classes {list(names)}: {', '.join(unknown)}")
    empty = [name for name in names if not counts[name]]
    if empty:
        raise InputError(f"class(es) without a training row: {', '.join(empty)}; look at the column `split`")
    if validation_rows.empty:
        raise InputError("no validation rows: mark some with split `validation`, or give more groups")
