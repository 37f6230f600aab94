"""The Lightning side of training. Importing this module needs the extra `camgate[training]`."""

from __future__ import annotations

import copy
import math
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import lightning.pytorch as pl
import torch
import torch.nn.functional as F  # noqa: N812  # the name everybody knows it by
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import Tensor, nn

from camgate.data.dataset import Batch
from camgate.errors import ModelError
from camgate.models.augmentation import Augmentation
from camgate.models.progress import ProgressLine
from camgate.models.surroundings import quiet_lightning, reproducible

LOSS_TOLERANCE = 0.01
"""Validation losses (in nats) closer than this count as equal. A validation set of a hundred images cannot
tell them apart, and the later of two equal epochs, whose learning rate was smaller, generalises better."""

OnEpoch = Callable[[int, Mapping[str, float]], None]


class Trainable(Protocol):
    """A `Classifier`, or the last layer alone with features in place of images."""

    @property
    def module(self) -> nn.Module:
        """What is trained."""

    def logits(self, images: Tensor) -> Tensor:
        """(B, classes), with their graph."""


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """What `fit` is told; see `camgate.models.training.train_classifier`.

    `phase` names it in the history and in progress. `backbone_rate` is the learning rate of everything but
    the head that is handed to `fit`, as a share of `learning_rate`.
    """

    phase: str = "training"
    epochs: int
    learning_rate: float
    weight_decay: float
    patience: int
    seed: int
    augmentation: Augmentation | None
    backbone_rate: float = 1.0


@dataclass
class Fitted:
    """What `fit` hands back, beside the module it has changed."""

    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    lowest_loss: float = math.inf
    faults: set[str] = field(default_factory=set)


def fit(
    classifier: Trainable,
    training: Iterable[Batch],
    validation: Iterable[Batch],
    *,
    settings: FitSettings,
    progress: ProgressLine,
    on_epoch: OnEpoch | None = None,
    head: nn.Module | None = None,
    before: Fitted | None = None,
) -> Fitted:
    """Train the classifier's module in place and leave it with the weights of its best epoch.

    Best is the latest epoch whose validation loss is the lowest so far to within `LOSS_TOLERANCE`; training
    stops after `patience` epochs that are not. The module ends on the CPU, in evaluation mode. Global random
    state, determinism flags and Lightning's log level are as before afterwards.

    Args:
        classifier: what is trained.
        training: batches, new in every pass.
        validation: batches.
        settings: how.
        progress: told of batches and of epochs of this phase.
        on_epoch: called with the epoch, counted from the beginning of the history, and its metrics.
        head: part of the module that learns at the full rate; all of it by default.
        before: the phase that came before. Its history is continued, and its weights are kept if no epoch of
            this phase is best.

    Raises:
        ModelError: a loss that is not finite, or outputs that do not fit the classes.
    """
    with (
        tempfile.TemporaryDirectory(prefix="camgate-training-") as scratch,
        quiet_lightning(),
        reproducible(settings.seed),
    ):
        before = before or Fitted()
        # A deep copy keeps the versions of the modules' formats, which MNASNet asks for.
        start = copy.deepcopy(classifier.module.state_dict()) if before.history else {}
        body = _Body(classifier, settings, batches=length(training), head=head, before=before)
        checkpoint = ModelCheckpoint(
            dirpath=scratch,
            filename="best",
            monitor="best_epoch",
            mode="max",
            save_top_k=1,
            save_weights_only=True,
            enable_version_counter=False,
        )
        reporter = _Reporter(body, progress, on_epoch, phase=settings.phase, history=before.history)
        stopping = EarlyStopping(monitor="best_epoch", mode="max", patience=settings.patience)
        stopping.best_score = torch.tensor(float(before.best_epoch))
        trainer = pl.Trainer(
            accelerator="auto",
            devices=1,
            max_epochs=settings.epochs,
            callbacks=[stopping, checkpoint, reporter],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            gradient_clip_val=1.0,
            deterministic="warn",
            default_root_dir=scratch,
        )
        with progress:
            trainer.fit(body, train_dataloaders=training, val_dataloaders=validation)
        body.cpu()
        if body.best_epoch > len(before.history):
            best = torch.load(Path(checkpoint.best_model_path), map_location="cpu", weights_only=True)
            body.load_state_dict(best["state_dict"])
        else:
            classifier.module.load_state_dict(start)
        classifier.module.eval()
        return Fitted(reporter.history, body.best_epoch, body.lowest_loss, before.faults | body.faults)


class _Body(pl.LightningModule):
    def __init__(
        self,
        classifier: Trainable,
        settings: FitSettings,
        *,
        batches: int,
        head: nn.Module | None,
        before: Fitted,
    ) -> None:
        super().__init__()
        self.module = classifier.module
        self.faults: set[str] = set()
        self.training_sums = _Sums()
        self.best_epoch = before.best_epoch
        self.lowest_loss = before.lowest_loss
        self._epochs_before = len(before.history)
        self._head = () if head is None else tuple(head.parameters())
        self._classifier = classifier
        self._settings = settings
        self._batches = batches
        self._chance = torch.Generator().manual_seed(settings.seed)

    @property
    def epoch(self) -> int:
        """From 1, those of the phase before included."""
        return self._epochs_before + self.current_epoch + 1

    def training_step(self, batch: Batch, number: int) -> Tensor | None:
        images, regions, labels = self._readable(batch)
        if len(labels) < 2:  # batch normalisation needs two
            return None
        if self._settings.augmentation is not None:
            images, _ = self._settings.augmentation(images, regions, generator=self._chance)
        return self._loss(images, labels, self.training_sums)

    def on_validation_epoch_start(self) -> None:
        self._validation_sums = _Sums()

    def validation_step(self, batch: Batch, number: int) -> None:
        images, _, labels = self._readable(batch)
        if len(labels):
            self._loss(images, labels, self._validation_sums)

    def on_validation_epoch_end(self) -> None:
        loss, accuracy = self._validation_sums.means()
        self.log("validation_loss", loss)
        self.log("validation_accuracy", accuracy)
        if loss <= self.lowest_loss + LOSS_TOLERANCE:
            self.best_epoch = self.epoch
        self.lowest_loss = min(loss, self.lowest_loss)
        self.log("best_epoch", float(self.best_epoch))

    def configure_optimizers(self) -> Any:
        optimiser = torch.optim.AdamW(
            _groups(self.module, self._settings, self._head), lr=self._settings.learning_rate
        )
        total = self._settings.epochs * self._batches
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: one_cycle(step, total))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _readable(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        if not any(batch.faults):
            return batch.images, batch.regions, batch.labels
        self.faults.update(fault for fault in batch.faults if fault is not None)
        keep = torch.tensor([fault is None for fault in batch.faults], device=batch.images.device)
        return batch.images[keep], batch.regions[keep], batch.labels[keep]

    def _loss(self, images: Tensor, labels: Tensor, sums: _Sums) -> Tensor:
        logits = self._classifier.logits(images)
        loss = F.cross_entropy(logits, labels)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise ModelError(
                f"the {'training' if self.training else 'validation'} loss is {value} in epoch "
                f"{self.epoch}: lower `learning_rate` (now {self._settings.learning_rate}), or "
                "look for broken weights"
            )
        sums.add(value, int((logits.argmax(dim=1) == labels).sum()), len(labels))
        return loss


class _Reporter(pl.Callback):
    """Keeps the history and tells the progress line and the caller."""

    def __init__(
        self,
        body: _Body,
        progress: ProgressLine,
        on_epoch: OnEpoch | None,
        *,
        phase: str,
        history: list[dict[str, Any]],
    ) -> None:
        self.history = list(history)
        self._phase = phase
        self._body = body
        self._progress = progress
        self._on_epoch = on_epoch
        self._started = time.monotonic()

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        self._progress.batch_done()

    def on_train_epoch_start(self, *_: Any) -> None:
        self._body.training_sums = _Sums()
        self._started = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        loss, accuracy = self._body.training_sums.means()
        metrics = {
            "train_loss": loss,
            "train_accuracy": accuracy,
            "validation_loss": float(trainer.callback_metrics["validation_loss"]),
            "validation_accuracy": float(trainer.callback_metrics["validation_accuracy"]),
            "learning_rate": float(trainer.optimizers[0].param_groups[0]["lr"]),
            "seconds": time.monotonic() - self._started,
        }
        epoch = self._body.epoch
        self.history.append({"epoch": epoch, "phase": self._phase, **metrics})
        self._progress.epoch_done(trainer.current_epoch + 1, metrics)
        if self._on_epoch is not None:
            self._on_epoch(epoch, metrics)


@dataclass
class _Sums:
    """Mean loss and accuracy over images, not over batches of unequal size."""

    loss: float = 0.0
    correct: int = 0
    count: int = 0

    def add(self, loss: float, correct: int, count: int) -> None:
        self.loss += loss * count
        self.correct += correct
        self.count += count

    def means(self) -> tuple[float, float]:
        if not self.count:
            raise ModelError("an epoch had no readable image")
        return self.loss / self.count, self.correct / self.count


def one_cycle(step: int, total: int, *, warm_up: float = 0.25, start: float = 0.04) -> float:
    """Learning rate as a share of its peak: half a cosine up, then half a cosine down to almost zero.

    The shape of Smith and Topin (2019). torch's OneCycleLR divides by zero for some short trainings.

    Args:
        step: from 0.
        total: number of steps.
        warm_up: share of the steps until the peak.
        start: share of the peak at the first step.
    """
    peak = warm_up * total
    if step < peak:
        return start + (1 - start) * (1 - math.cos(math.pi * step / peak)) / 2
    return 1e-3 + (1 - 1e-3) * (1 + math.cos(math.pi * min(1.0, (step - peak) / (total - peak)))) / 2


def _groups(module: nn.Module, settings: FitSettings, head: Sequence[nn.Parameter]) -> list[dict[str, Any]]:
    """Decay weights, but neither biases nor normalisation (one-dimensional parameters).

    The first group learns at the full rate: it is the one that the history shows.
    """
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    chosen = {id(parameter) for parameter in head or parameters}
    groups = []
    for full in (True, False):
        part = [parameter for parameter in parameters if (id(parameter) in chosen) is full]
        rate = settings.learning_rate * (1 if full else settings.backbone_rate)
        groups += [
            {"params": [p for p in part if p.ndim > 1], "lr": rate, "weight_decay": settings.weight_decay},
            {"params": [p for p in part if p.ndim <= 1], "lr": rate, "weight_decay": 0.0},
        ]
    return [group for group in groups if group["params"]]


def length(batches: Iterable[Batch]) -> int:
    """How many batches there are."""
    return len(batches)  # type: ignore[arg-type]
