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

from camgate.data.manifest import manifest_classes
from camgate.data.preprocessing import Preprocessing
from camgate.data.splits import training_rows
from camgate.errors import InputError, some_of
from camgate.models.augmentation import Augmentation
from camgate.models.builders import build
from camgate.models.checks import checked_classes
from camgate.models.classifier import Classifier
from camgate.models.frozen import head_of, train_head
from camgate.models.loading import batches, in_order, refuse_unreadable
from camgate.models.progress import ProgressLine
from camgate.models.weights import start_from


@dataclass(frozen=True)
class TrainingResult:
    """What training gives.

    Attributes:
        classifier: with the weights of the best epoch, on the CPU, in evaluation mode.
        history: one row an epoch: epoch (from 1), phase (`frozen` or `whole`), train_loss, train_accuracy,
            validation_loss, validation_accuracy, learning_rate, seconds.
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
    frozen_epochs: int = 0,
    backbone_rate: float | None = None,
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
        epochs: the most there will be in which the whole network is trained; 0 with `frozen_epochs`.
        batch_size: images in a step.
        learning_rate: peak of the cycle; None: 0.01 for `resnet_small` from random weights, 0.001 for all
            else, which suits larger nets and fine-tuning.
        weight_decay: AdamW's, on weights only.
        patience: training stops after so many epochs whose validation loss is above the lowest by over 0.01.
        augmentation: None trains on the images as they are.
        seed: decides first weights, order, augmentation and the rows held out.
        workers: processes that read images; 0 reads in this one.
        weights: file to start from, safetensors or a state dict saved by torch (read without running
            pickled code); or the name of weights that torchvision has for the builder, such as `DEFAULT`,
            see `camgate.models.weights.find_weights`. A last layer of another shape is left random, so that
            weights for other classes can be used.
        frozen_epochs: epochs before, in which only the last layer is trained, on features of the frozen rest
            that are computed once, without augmentation. Fast on a CPU; makes sense with `weights`. Their
            result is kept where training the whole network afterwards only makes it worse.
        backbone_rate: learning rate of all but the last layer, as a share of `learning_rate`; None: 0.1
            after frozen epochs, else 1.
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
    if backbone_rate is None:
        backbone_rate = 0.1 if frozen_epochs else 1.0
    _check_options(
        epochs=epochs,
        frozen_epochs=frozen_epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        patience=patience,
        backbone_rate=backbone_rate,
    )
    fitting = _lightning()
    names = _training_classes(manifest, classes)
    train_rows, validation_rows = training_rows(manifest, seed=seed)
    _check_rows(train_rows, validation_rows, names)
    how = preprocessing or Preprocessing(size=(128, 128))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = build(builder, builder_args, len(names), allow_code=allow_code)
    fresh = [] if weights is None else start_from(module, weights, builder)
    classifier = Classifier(
        module, names, how, target_layer=target_layer, builder=builder, builder_args=builder_args
    )
    options: dict[str, Any] = {"batch_size": batch_size, "workers": workers, "seed": seed}
    training, faults = batches(train_rows, how, names, shuffle=True, **options)
    validation, more_faults = batches(validation_rows, how, names, shuffle=False, **options)
    head = head_of(classifier) if frozen_epochs else None
    history: list[dict[str, Any]] = []
    best_epoch = 0

    def told(epoch: int, metrics: Mapping[str, float]) -> None:
        if on_epoch is not None:
            on_epoch(len(history) + epoch, metrics)

    if head is not None:
        module.eval()
        with fitting.reproducible(seed):
            line = ProgressLine(
                epochs=frozen_epochs, batches=1, enabled=progress, what="training the last layer"
            )
            first, best_epoch = train_head(
                classifier,
                head,
                in_order(training),
                validation,
                epochs=frozen_epochs,
                weight_decay=weight_decay,
                patience=patience,
                seed=seed,
                progress=line,
                on_epoch=told,
            )
        history += [{**row, "phase": "frozen"} for row in first]
    frozen = {name: value.clone() for name, value in module.state_dict().items()} if history else {}
    fitted = fitting.Fitted([], 0)
    if epochs:
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
                head=head,
                backbone_rate=backbone_rate,
            ),
            progress=ProgressLine(epochs=epochs, batches=len(training), enabled=progress),  # type: ignore[arg-type]
            on_epoch=told,
        )
        lowest = min((row["validation_loss"] for row in fitted.history), default=float("inf"))
        if frozen and history[best_epoch - 1]["validation_loss"] + fitting.LOSS_TOLERANCE < lowest:
            module.load_state_dict(frozen)  # the whole network only got worse
        else:
            best_epoch = len(history) + fitted.best_epoch
        history += [{**row, "epoch": len(history) + row["epoch"], "phase": "whole"} for row in fitted.history]
    unreadable = {*faults, *more_faults, *fitted.faults}
    refuse_unreadable(sorted(unreadable), len(train_rows) + len(validation_rows))
    parameters = {
        "builder": builder,
        "builder_args": dict(builder_args or {}),
        "classes": list(names),
        "size": list(how.size),
        "resize": how.resize,
        "epochs": epochs,
        "frozen_epochs": frozen_epochs,
        "best_epoch": best_epoch,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "backbone_rate": backbone_rate,
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
    return TrainingResult(classifier, pd.DataFrame(history), best_epoch, parameters)


def _lightning() -> ModuleType:
    try:
        from camgate.models import fitting
    except ImportError as error:
        raise InputError(
            f"training needs an extra that is not installed ({error}): pip install 'camgate[training]'"
        ) from error
    return fitting


def _check_options(
    *,
    epochs: int,
    frozen_epochs: int,
    batch_size: int,
    learning_rate: float,
    patience: int,
    backbone_rate: float,
) -> None:
    for name, value, least in (
        ("frozen_epochs", frozen_epochs, 0),
        ("epochs", epochs, 0 if frozen_epochs > 0 else 1),
        ("batch_size", batch_size, 2),
        ("patience", patience, 1),
    ):
        if value < least:
            raise InputError(f"`{name}` must be at least {least}, got {value}")
    if not 0 < learning_rate < float("inf"):
        raise InputError(f"`learning_rate` must be positive and finite, got {learning_rate}")
    if not 0 < backbone_rate <= 1:
        raise InputError(f"`backbone_rate` must be above 0 and at most 1, got {backbone_rate}")


def _training_classes(manifest: pd.DataFrame, classes: Sequence[str] | None) -> tuple[str, ...]:
    names = tuple(manifest_classes(manifest) if classes is None else classes)
    if len(set(names)) < 2:
        raise InputError(
            f"training needs at least two classes, got {len(set(names))} ({some_of(names)}): "
            "look at the column `label`"
        )
    return checked_classes(names)


def _check_rows(train_rows: pd.DataFrame, validation_rows: pd.DataFrame, names: Sequence[str]) -> None:
    counts = Counter(str(label) for label in train_rows["label"])
    unknown = sorted({*counts, *map(str, validation_rows["label"])} - set(names))
    if unknown:
        raise InputError(f"label(s) that are not among the classes ({some_of(names)}): {some_of(unknown)}")
    empty = [name for name in names if not counts[name]]
    if empty:
        raise InputError(f"class(es) without a training row: {some_of(empty)}; look at the column `split`")
    if validation_rows.empty:
        raise InputError("no validation rows: mark some with split `validation`, or give more groups")
