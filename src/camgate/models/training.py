"""Reference training: a manifest in, a `Classifier` out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from camgate.data.dataset import Batch, ImageDataset
from camgate.data.manifest import manifest_classes
from camgate.data.preprocessing import Preprocessing
from camgate.data.splits import training_rows
from camgate.errors import InputError, some_of
from camgate.models.augmentation import Augmentation
from camgate.models.builders import build, starts_random
from camgate.models.checks import checked_classes
from camgate.models.classifier import Classifier
from camgate.models.loading import MemoryBatches, batches, refuse_unreadable
from camgate.models.progress import ProgressLine
from camgate.models.transfer import find_head, last_layer
from camgate.models.weights import file_sha256, start_from, weights_file


@dataclass(frozen=True)
class TrainingResult:
    """What training gives.

    Attributes:
        classifier: with the weights of the best epoch, on the CPU, in evaluation mode.
        history: one row an epoch: epoch (from 1), phase (`training`; or `frozen backbone`, then
            `fine-tuning`), train_loss, train_accuracy, validation_loss, validation_accuracy, learning_rate
            (of the last layer, when the epoch ended), seconds.
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
    augmented_copies: int = 0,
    head_learning_rate: float = 0.01,
    backbone_rate: float = 0.1,
    allow_code: bool = False,
    progress: bool = True,
    on_epoch: Callable[[int, Mapping[str, float]], None] | None = None,
) -> TrainingResult:
    """Train a network on the training rows of a manifest and keep its best epoch.

    AdamW with a one-cycle learning rate, early stopping on the validation loss, by Lightning. The same seed,
    data and machine (number of threads included) give the same weights.

    With `frozen_epochs` the network is first left as `weights` made it, batch normalisation in evaluation
    mode: what goes into its last layer is computed once for each image and kept (4 bytes a number; above
    1 GiB in a temporary file), and the last layer alone is trained on that, which costs next to nothing even
    on a CPU. Then, for `epochs`, the whole network is trained (fine-tuning), each phase with a cycle of its
    own.

    Args:
        manifest: validated rows, see `camgate.data.manifest.validate_manifest`. Rows whose `split` is `train`
            are trained on; `validation` (or `val`) rows decide the best epoch, else groups are held out.
        classes: names in the order of the outputs; by default the labels, sorted.
        builder: see `camgate.models.builders.build`.
        builder_args: its arguments.
        preprocessing: by default squash to 128 x 128 px.
        target_layer: kept in the classifier for the audit.
        epochs: of the whole network, the most there will be; 0 is allowed after `frozen_epochs`.
        batch_size: images in a step.
        learning_rate: peak of the cycle; None: 0.01 for `resnet_small` from random weights, 0.001 for all
            else, which suits larger nets and fine-tuning.
        weight_decay: AdamW's, on weights only.
        patience: training stops after so many epochs whose validation loss is above the lowest by over 0.01.
        augmentation: None trains on the images as they are.
        seed: decides first weights, order, augmentation and the rows held out.
        workers: processes that read images; 0 reads in this one.
        weights: file to start from, safetensors or a state dict or checkpoint saved by torch (read without
            running pickled code); or the name of torchvision's weights for a builder ``torchvision:NAME``,
            such as ``IMAGENET1K_V1``, taken from torch's cache or downloaded. A last layer of another shape
            is left random, so that weights for other classes can be used.
        frozen_epochs: of the last layer alone, the most there will be; they come first.
        augmented_copies: of each training image, drawn once, that the last layer is trained on beside the
            image itself.
        head_learning_rate: peak of the cycle of the frozen epochs.
        backbone_rate: learning rate of all but the last layer while the whole network is trained after frozen
            epochs, as a share of `learning_rate`, in (0, 1].
        allow_code: also for a builder that is an import path.
        progress: one line on standard error.
        on_epoch: called with the epoch (from 1) and its metrics.

    Raises:
        InputError: options out of range, fewer than two classes, a class without training rows, a label
            that is no class, more than 5 % unreadable images, or the extra `camgate[training]` is missing.
        ModelError: the network cannot be built, weights do not fit or cannot be had, the last layer cannot
            be trained apart from the network, or the loss is not finite.
    """
    if learning_rate is None:
        learning_rate = 1e-2 if builder == "resnet_small" and weights is None else 1e-3
    _check_options(
        least={
            "epochs": (epochs, 0 if frozen_epochs else 1),
            "batch_size": (batch_size, 2),
            "patience": (patience, 1),
            "frozen_epochs": (frozen_epochs, 0),
            "augmented_copies": (augmented_copies, 0),
        },
        rates={
            "learning_rate": (learning_rate, float("inf")),
            "head_learning_rate": (head_learning_rate, float("inf")),
            "backbone_rate": (backbone_rate, 1.0),
        },
    )
    if frozen_epochs and weights is None and starts_random(builder):
        raise InputError(
            f"`frozen_epochs` without `weights`: builder `{builder}` gives a random network, whose features "
            "would stay random; name a file of weights"
        )
    if augmented_copies and (augmentation is None or not frozen_epochs):
        raise InputError("`augmented_copies` needs an `augmentation` that makes them, and `frozen_epochs`")
    fitting = _lightning()
    names = _training_classes(manifest, classes)
    train_rows, validation_rows = training_rows(manifest, seed=seed)
    _check_rows(train_rows, validation_rows, names)
    how = preprocessing or Preprocessing(size=(128, 128))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = build(builder, builder_args, len(names), allow_code=allow_code)
    classifier = Classifier(
        module, names, how, target_layer=target_layer, builder=builder, builder_args=builder_args
    )
    start: dict[str, Any] = {"weights": None, "weights_sha256": None, "weights_left_random": []}
    noise = _noise(train_rows, how, names)
    if weights is not None:
        file = weights_file(weights, builder)
        left = start_from(module, file, head=last_layer(classifier, noise))
        start = {"weights": str(weights), "weights_sha256": file_sha256(file), "weights_left_random": left}
    head = find_head(classifier, noise) if frozen_epochs else None
    options: dict[str, Any] = {"batch_size": batch_size, "workers": workers, "seed": seed}
    training, faults = batches(train_rows, how, names, shuffle=True, **options)
    validation, more_faults = batches(validation_rows, how, names, shuffle=False, **options)
    settings = fitting.FitSettings(
        epochs=epochs,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        patience=patience,
        seed=seed,
        augmentation=augmentation,
    )
    fitted = fitting.Fitted()
    if head is not None:
        from camgate.models.frozen import fit_head

        in_order: Iterable[Batch]
        if isinstance(training, MemoryBatches):
            in_order = replace(training, shuffle=False)
        else:
            in_order, _ = batches(train_rows, how, names, shuffle=False, **options)
        fitted = fit_head(
            classifier,
            head,
            in_order,
            validation,
            counts=(len(train_rows), len(validation_rows)),
            copies=augmented_copies,
            batch_size=batch_size,
            settings=replace(
                settings, phase="frozen backbone", epochs=frozen_epochs, learning_rate=head_learning_rate
            ),
            progress=progress,
            on_epoch=on_epoch,
        )
        settings = replace(settings, phase="fine-tuning", backbone_rate=backbone_rate)
    if epochs:
        fitted = fitting.fit(
            classifier,
            training,
            validation,
            settings=settings,
            progress=ProgressLine(
                title=settings.phase, epochs=epochs, batches=fitting.length(training), enabled=progress
            ),
            on_epoch=on_epoch,
            head=None if head is None else head.module,
            before=fitted,
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
        **start,
        "frozen_epochs": frozen_epochs,
        "train_images": len(train_rows),
        "validation_images": len(validation_rows),
        "unreadable_images": len(unreadable),
    }
    if head is not None:
        parameters |= {
            "head": head.name,
            "head_learning_rate": head_learning_rate,
            "augmented_copies": augmented_copies,
            "backbone_rate": backbone_rate,
        }
    return TrainingResult(classifier, pd.DataFrame(fitted.history), fitted.best_epoch, parameters)


def _noise(rows: pd.DataFrame, how: Preprocessing, names: Sequence[str]) -> Tensor:
    """Two random pictures of the size and channels that the network will see."""
    shape = ImageDataset(rows.head(1), how, names)[0].image.shape
    return torch.randint(256, (2, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def _lightning() -> ModuleType:
    try:
        from camgate.models import fitting
    except ImportError as error:
        raise InputError(
            f"training needs an extra that is not installed ({error}): pip install 'camgate[training]'"
        ) from error
    return fitting


def _check_options(*, least: Mapping[str, tuple[int, int]], rates: Mapping[str, tuple[float, float]]) -> None:
    for name, (value, bound) in least.items():
        if value < bound:
            raise InputError(f"`{name}` must be at least {bound}, got {value}")
    for name, (rate, most) in rates.items():
        if not (0 < rate <= most and rate < float("inf")):
            limit = "finite" if most == float("inf") else f"at most {most:g}"
            raise InputError(f"`{name}` must be positive and {limit}, got {rate}")


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
