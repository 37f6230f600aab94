"""Training the last layer alone: what the frozen backbone gives is computed once and kept."""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # the name everybody knows it by
from torch import Tensor, nn

from camgate.data.dataset import Batch
from camgate.errors import ModelError
from camgate.models.classifier import Classifier, evaluation_mode
from camgate.models.progress import ProgressLine

FEATURE_LIMIT = 1 << 30
"""Bytes of features above which they lie in a temporary file instead of in memory."""

HEAD_BATCH = 256
HEAD_RATE = 1e-2

OnEpoch = Callable[[int, Mapping[str, float]], None]


def head_of(classifier: Classifier) -> str:
    """Name of the last linear layer, whose output is the logits.

    Found by running the network once: the last `nn.Linear` that runs.

    Raises:
        ModelError: the network does not end in a linear layer.
    """
    shape = (2, classifier.preprocessing.channels, *classifier.preprocessing.size)
    chance = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=chance)
    order: list[str] = []
    with evaluation_mode(classifier.module), torch.no_grad(), ExitStack() as stack:
        for name, part in classifier.module.named_modules():
            if isinstance(part, nn.Linear):
                hook = part.register_forward_hook(lambda *_, name=name: order.append(name))
                stack.callback(hook.remove)
        logits = classifier.logits(images)
    if order:
        features, _ = features_of(classifier, order[-1], [_batch(images)])
        head = classifier.module.get_submodule(order[-1])
        with torch.no_grad():
            if features.ndim == 2 and torch.allclose(head(features), logits.cpu(), rtol=1e-3, atol=1e-4):
                return order[-1]
    raise ModelError(
        "the backbone can only be frozen where the network ends in one linear layer that gives the logits; "
        f"{type(classifier.module).__name__} does not: leave `frozen_epochs` at 0"
    )


def features_of(
    classifier: Classifier, head: str, batches: Iterable[Batch], *, scratch: Path | None = None
) -> tuple[Tensor, Tensor]:
    """What the last layer is given, image by image, without augmentation and in evaluation mode.

    Args:
        classifier: the model.
        head: name of its last linear layer.
        batches: images; those with a fault are left out.
        scratch: folder for a file that holds the features where they are over `FEATURE_LIMIT`.

    Returns:
        Features float32 `(N, D)` and labels int64 `(N,)`.
    """
    taken: list[Tensor] = []
    features: list[Tensor] = []
    labels: list[Tensor] = []
    held = 0
    file: Any = None
    layer = classifier.module.get_submodule(head)
    handle = layer.register_forward_pre_hook(lambda _, inputs: taken.append(inputs[0].detach()))
    try:
        with evaluation_mode(classifier.module), torch.no_grad():
            for batch in batches:
                keep = torch.tensor([fault is None for fault in batch.faults])
                if not keep.any():
                    continue
                taken.clear()
                classifier.logits(batch.images[keep])
                part = taken[-1].float().cpu()
                labels.append(batch.labels[keep])
                held += part.nbytes
                if scratch is not None and held > FEATURE_LIMIT and file is None:
                    file = (scratch / "features").open("w+b")
                    for before in features:
                        file.write(before.numpy().tobytes())
                    features = [part[:0]]
                if file is None:
                    features.append(part)
                else:
                    file.write(part.numpy().tobytes())
    finally:
        handle.remove()
        if file is not None:
            file.close()
    if not labels:
        raise ModelError("not one image is readable")
    if file is None:
        return torch.cat(features), torch.cat(labels)
    width = features[0].shape[1:]
    stored = np.memmap(file.name, dtype=np.float32, mode="c", shape=(sum(map(len, labels)), *width))
    return torch.from_numpy(stored), torch.cat(labels)


def train_head(
    classifier: Classifier,
    head: str,
    training: Iterable[Batch],
    validation: Iterable[Batch],
    *,
    epochs: int,
    weight_decay: float,
    patience: int,
    seed: int,
    progress: ProgressLine,
    on_epoch: OnEpoch,
) -> tuple[list[dict[str, float]], int]:
    """Train the last layer in place on features of the frozen rest, and leave it with its best epoch.

    AdamW with a one-cycle rate. The best epoch and the end of training follow the rules of `fitting.fit`.

    Args:
        classifier: trained in place; nothing but the weights of `head` changes.
        head: from `head_of`.
        training: batches in any order, run through once.
        validation: the same.
        epochs: the most there will be.
        weight_decay: AdamW's, on the weights only.
        patience: epochs without a loss near the lowest.
        seed: of the order.
        progress: one step an epoch.
        on_epoch: called with the epoch (from 1) and its metrics.

    Returns:
        One row an epoch, as in `TrainingResult.history`, and the best epoch (from 1).

    Raises:
        ModelError: features or a loss that are not finite.
    """
    from camgate.models.fitting import LOSS_TOLERANCE, decay_groups, one_cycle  # needs an extra

    with tempfile.TemporaryDirectory(prefix="camgate-features-") as scratch, progress:
        features, labels = features_of(classifier, head, training, scratch=Path(scratch))
        held_out, held_labels = features_of(classifier, head, validation)
        layer = copy.deepcopy(classifier.module.get_submodule(head)).float().cpu()
        layer.requires_grad_(True)
        optimiser = torch.optim.AdamW(decay_groups(layer.parameters(), weight_decay, HEAD_RATE))
        chance = torch.Generator().manual_seed(seed)
        steps = -(-len(labels) // HEAD_BATCH)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: one_cycle(step, epochs * steps))
        history: list[dict[str, float]] = []
        best = copy.deepcopy(layer.state_dict())
        lowest, best_epoch = float("inf"), 0
        for epoch in range(1, epochs + 1):
            started = time.monotonic()
            loss_sum, correct = 0.0, 0
            for index in torch.split(torch.randperm(len(labels), generator=chance), HEAD_BATCH):
                logits = layer(features[index])
                loss = F.cross_entropy(logits, labels[index])
                optimiser.zero_grad()
                torch.autograd.backward(loss)
                optimiser.step()
                schedule.step()
                loss_sum += float(loss.detach()) * len(index)
                correct += int((logits.argmax(dim=1) == labels[index]).sum())
            with torch.no_grad():
                outputs = layer(held_out)
                held_loss = float(F.cross_entropy(outputs, held_labels))
            metrics = {
                "train_loss": loss_sum / len(labels),
                "train_accuracy": correct / len(labels),
                "validation_loss": held_loss,
                "validation_accuracy": float((outputs.argmax(dim=1) == held_labels).float().mean()),
                "learning_rate": float(optimiser.param_groups[0]["lr"]),
                "seconds": time.monotonic() - started,
            }
            if not np.isfinite(held_loss) or not np.isfinite(loss_sum):
                raise ModelError(
                    f"the loss on the frozen backbone's features is not finite in epoch {epoch}: look for "
                    "broken weights"
                )
            history.append({"epoch": epoch, **metrics})
            progress.epoch_done(epoch, metrics)
            on_epoch(epoch, metrics)
            if held_loss <= lowest + LOSS_TOLERANCE:
                best_epoch, best = epoch, copy.deepcopy(layer.state_dict())
            lowest = min(lowest, held_loss)
            if epoch - best_epoch >= patience:
                break
        classifier.module.get_submodule(head).load_state_dict(best)
    return history, best_epoch


def _batch(images: Tensor) -> Batch:
    count = len(images)
    nothing = torch.zeros(count, dtype=torch.int64)
    return Batch(nothing, images, images[:, 0] > 255, nothing > 0, nothing, (None,) * count)
