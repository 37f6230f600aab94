"""Step: the reference training."""

from __future__ import annotations

from typing import Annotated, Any

import pandas as pd
from zenml import step
from zenml.config.cache_policy import CachePolicy

import camgate.materializers  # noqa: F401  (registers them)
from camgate.data.preprocessing import Preprocessing
from camgate.materializers.sources import pin
from camgate.models.classifier import Classifier
from camgate.models.training import train_classifier
from camgate.steps._fingerprint import weights_fingerprint
from camgate.steps._progress import epoch_reporter, listening


@step(cache_policy=CachePolicy(cache_func=weights_fingerprint))
def train_model(
    manifest: pd.DataFrame,
    builder: str = "resnet_small",
    builder_args: dict[str, Any] | None = None,
    classes: list[str] | None = None,
    preprocessing: Preprocessing | None = None,
    target_layer: str | None = None,
    epochs: int = 12,
    batch_size: int = 64,
    learning_rate: float | None = None,
    weight_decay: float = 0.05,
    patience: int = 8,
    seed: int = 0,
    workers: int = 0,
    weights: str | None = None,
    frozen_epochs: int = 0,
    augmented_copies: int = 0,
    head_learning_rate: float = 0.01,
    backbone_rate: float = 0.1,
    allow_code: bool = False,
) -> tuple[
    Annotated[Classifier, "classifier"],
    Annotated[pd.DataFrame, "history"],
    Annotated[dict[str, Any], "parameters"],
]:
    """Train a classifier on the training rows; cached while neither data, options nor weights change.

    Everything that belongs into the MLflow run is an output, and `evaluate_model` logs it: a cached step
    logs nothing.

    Transfer learning: `weights` is a file, or the name of torchvision's weights for a builder
    ``torchvision:NAME`` such as ``IMAGENET1K_V1``; a last layer for other classes is left random. With
    `frozen_epochs` that layer is trained alone first, on features that are computed once for each image (and
    for `augmented_copies` of it) at `head_learning_rate`; then, for `epochs` (may be 0), the whole network,
    all but the last layer at `backbone_rate` times `learning_rate`.

    Args: see `camgate.models.training.train_classifier`.

    Returns:
        The classifier with the weights of its best epoch, one row an epoch, and what the result depends on.
    """
    result = train_classifier(
        manifest,
        classes=classes,
        builder=builder,
        builder_args=builder_args,
        preprocessing=preprocessing,
        target_layer=target_layer,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        patience=patience,
        seed=seed,
        workers=workers,
        weights=weights,
        frozen_epochs=frozen_epochs,
        augmented_copies=augmented_copies,
        head_learning_rate=head_learning_rate,
        backbone_rate=backbone_rate,
        allow_code=allow_code,
        progress=not listening(),
        on_epoch=epoch_reporter(frozen_epochs + epochs),
    )
    return result.classifier, result.history, result.parameters


pin(train_model.entrypoint)
