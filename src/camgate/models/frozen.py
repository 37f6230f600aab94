"""The first phase of transfer learning: the last layer alone. Needs the extra `camgate[training]`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from camgate.data.dataset import Batch
from camgate.models.classifier import Classifier
from camgate.models.fitting import FitSettings, Fitted, OnEpoch, fit, length
from camgate.models.loading import MemoryBatches
from camgate.models.progress import ProgressLine
from camgate.models.transfer import Head, cache_features


def fit_head(
    classifier: Classifier,
    head: Head,
    training: Iterable[Batch],
    validation: Iterable[Batch],
    *,
    counts: tuple[int, int],
    copies: int,
    batch_size: int,
    settings: FitSettings,
    progress: bool = True,
    on_epoch: OnEpoch | None = None,
) -> Fitted:
    """Compute the features in front of the head once, and train the head on them in place.

    Args:
        classifier: its module ends on the CPU, in evaluation mode, changed in its last layer only.
        head: of that classifier.
        training: batches, every image once.
        validation: batches, every image once.
        counts: the most images there are in each.
        copies: augmented copies of each training image, drawn once.
        batch_size: rows of features in a step.
        settings: its augmentation makes the copies.
        progress: lines on standard error.
        on_epoch: see `camgate.models.fitting.fit`.

    Raises:
        InputError: see `camgate.models.transfer.cache_features`.
        ModelError: see `camgate.models.fitting.fit`.
    """
    with tempfile.TemporaryDirectory(prefix="camgate-features-", ignore_cleanup_errors=True) as folder:
        reading = ProgressLine(
            title="features", epochs=1, batches=length(training) + length(validation), enabled=progress
        )
        common: dict[str, Any] = {"scratch": Path(folder), "on_batch": reading.batch_done}
        with reading:
            rows = cache_features(
                classifier,
                head,
                training,
                count=counts[0],
                copies=copies,
                augmentation=settings.augmentation,
                seed=settings.seed,
                **common,
            )
            held_out = cache_features(classifier, head, validation, count=counts[1], **common)
            reading.say("features", f"{len(rows) + len(held_out)} x {rows.images[0].numel()} computed")
        shuffled = MemoryBatches(rows, min(batch_size, len(rows)), shuffle=True, seed=settings.seed)
        fitted = fit(
            head,
            shuffled,
            MemoryBatches(held_out, batch_size),
            settings=replace(settings, augmentation=None),
            progress=ProgressLine(
                title=settings.phase, epochs=settings.epochs, batches=len(shuffled), enabled=progress
            ),
            on_epoch=on_epoch,
        )
    fitted.faults.update(rows.faults, held_out.faults)
    classifier.module.eval()
    return fitted
