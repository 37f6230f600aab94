"""A frozen backbone: its features are computed once, and the last layer is trained on them alone."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from camgate.data.dataset import Batch
from camgate.errors import InputError, ModelError
from camgate.models.augmentation import Augmentation
from camgate.models.classifier import Classifier, evaluation_mode
from camgate.models.loading import Decoded

FEATURE_MEMORY = 1 << 30
"""Bytes of features above which they are kept in a temporary file instead of in memory."""

_AFTER: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda maps: maps.mean(dim=2),
    "first": lambda maps: maps[:, :, 0],
    "mean of the positive part": lambda maps: maps.relu().mean(dim=2),  # SqueezeNet
}
"""What networks do between the outputs (B, classes, positions) of their last layer and the logits."""


@dataclass(frozen=True)
class Head:
    """The last layer of a network and what follows it; trained like a `Classifier` whose images are features.

    Attributes:
        module: the layer itself, part of the network: training it trains the network.
        name: its dotted name there.
        after: name of what turns its outputs into the logits.
    """

    module: nn.Linear | nn.Conv2d
    name: str
    after: str

    def logits(self, images: Tensor) -> Tensor:
        """Logits (B, classes) from the layer's inputs (B, ...), as the whole network gives them."""
        return _after(self.module(images), self)


def _after(outputs: Tensor, head: Head) -> Tensor:
    """Logits (B, classes) from the outputs of the head's layer: classes come last in a Linear's."""
    if isinstance(head.module, nn.Linear):
        outputs = outputs.unsqueeze(1).flatten(1, -2).transpose(1, 2)
    return _AFTER[head.after](outputs.flatten(2)).float()


def last_layer(classifier: Classifier, images: Tensor) -> nn.Linear | nn.Conv2d | None:
    """The `nn.Linear` or `nn.Conv2d` that is called last in a forward pass, whatever its name and place.

    Args:
        classifier: any.
        images: (B, C, h, w) uint8, at the preprocessing's size.
    """
    trace = _traced(classifier, images)
    return trace.calls[-1][1] if trace.calls else None


def find_head(classifier: Classifier, images: Tensor) -> Head:
    """The last layer, with what follows it found by comparing with the network's own logits.

    Raises:
        ModelError: there is no such layer, or the logits do not follow from its outputs in a known way.
    """
    layer = last_layer(classifier, images)
    if layer is None:
        raise ModelError("the network has no nn.Linear and no nn.Conv2d, so there is no last layer to train")
    with _shaken(layer):
        trace = _traced(classifier, images)
    name, outputs, logits = trace.calls[-1][0], trace.outputs, trace.logits
    for after in _AFTER if trace.calls.count((name, layer)) == 1 else ():
        head = Head(layer, name, after)
        found = _after(outputs, head)
        if found.shape == logits.shape and torch.allclose(found, logits, rtol=1e-4, atol=1e-5):
            return head
    raise ModelError(
        f"the network's logits {tuple(logits.shape)} are neither the outputs {tuple(outputs.shape)} of its "
        f"last layer `{name}` nor their mean over positions, so that layer cannot be trained on cached "
        "features: train the whole network (`frozen_epochs=0`)"
    )


@contextmanager
def _shaken(layer: nn.Module) -> Iterator[None]:
    """Random weights for a while: some last layers begin as zeros, from which anything would follow."""
    chance = torch.Generator().manual_seed(0)
    before = [(parameter, parameter.detach().clone()) for parameter in layer.parameters()]
    try:
        for parameter, value in before:
            noise = torch.randn(value.shape, generator=chance) / max(1, value[0].numel()) ** 0.5
            parameter.data.copy_(noise)
        yield
    finally:
        for parameter, value in before:
            parameter.data.copy_(value)


@dataclass
class _Trace:
    """Linear layers and convolutions in the order of their calls; outputs of the last one; the logits."""

    calls: list[tuple[str, nn.Linear | nn.Conv2d]] = field(default_factory=list)
    outputs: Tensor = field(default_factory=lambda: torch.empty(0))
    logits: Tensor = field(default_factory=lambda: torch.empty(0))


def _traced(classifier: Classifier, images: Tensor) -> _Trace:
    trace = _Trace()
    with ExitStack() as hooks:
        for name, part in classifier.module.named_modules():
            if isinstance(part, nn.Linear | nn.Conv2d):

                def note(layer: Any, _: Any, outputs: Tensor, name: str = name) -> None:
                    trace.calls.append((name, layer))
                    trace.outputs = outputs.clone()  # what follows may work in place

                hooks.callback(part.register_forward_hook(note).remove)
        trace.logits = _outputs(classifier, images)
    return trace


def cache_features(
    classifier: Classifier,
    head: Head,
    batches: Iterable[Batch],
    *,
    count: int,
    scratch: Path,
    copies: int = 0,
    augmentation: Augmentation | None = None,
    seed: int = 0,
    memory_limit: int = FEATURE_MEMORY,
    on_batch: Callable[[], None] = lambda: None,
) -> Decoded:
    """Inputs of the head for all images and `copies` augmented copies of each, in evaluation mode.

    Args:
        classifier: its module ends on the CPU.
        head: of that classifier.
        batches: every image once.
        count: the most images there are.
        scratch: folder for a file of features that exceed `memory_limit`; to be removed by the caller.
        copies: 0 without `augmentation`.
        augmentation: makes the copies.
        seed: of the augmentation.
        memory_limit: in bytes.
        on_batch: called after each batch.

    Returns:
        Rows whose `images` are features (N, ...) float32 and whose regions are empty; unreadable ones are
        left out and named.

    Raises:
        InputError: no image can be read, or the disk has no room for the features.
    """
    chance = torch.Generator().manual_seed(seed)
    features: Tensor | None = None
    labels: list[Tensor] = []
    faults: list[str] = []
    done = 0
    classifier.module.to(_device())
    try:
        for batch in batches:
            faults += [fault for fault in batch.faults if fault is not None]
            keep = torch.tensor([fault is None for fault in batch.faults])
            images, regions = batch.images[keep], batch.regions[keep]
            for copy in range(1 + copies if len(images) else 0):
                shown = images
                if copy and augmentation is not None:
                    shown, _ = augmentation(images, regions, generator=chance)
                part = features_of(classifier, head, shown)
                if features is None:
                    features = _room((count * (1 + copies), *part.shape[1:]), scratch, memory_limit)
                features[done : done + len(part)] = part
                labels.append(batch.labels[keep])
                done += len(part)
            on_batch()
    finally:
        classifier.module.cpu()
    if features is None:
        raise InputError("none of the images can be read" + "".join(f"; {fault}" for fault in faults[:3]))
    nothing = torch.zeros(done, 0, dtype=torch.bool)
    return Decoded(features[:done], nothing, nothing.any(dim=1), torch.cat(labels), tuple(faults))


def _room(shape: tuple[int, ...], scratch: Path, memory_limit: int) -> Tensor:
    size = 4 * torch.Size(shape).numel()
    if size <= memory_limit:
        return torch.empty(shape)
    free = shutil.disk_usage(scratch).free
    if size > free:  # writing into a mapped file on a full disk would kill the process
        raise InputError(
            f"the features of {shape[0]} images need {size / 1e9:.1f} GB, but {scratch} has {free / 1e9:.1f} "
            "GB: set TMPDIR to a folder on a larger disk, or lower `augmented_copies`"
        )
    handle, path = tempfile.mkstemp(prefix="features-", dir=scratch)
    os.close(handle)
    return torch.from_file(path, shared=True, size=size // 4, dtype=torch.float32).view(shape)


def features_of(classifier: Classifier, head: Head, images: Tensor) -> Tensor:
    """What goes into the head for `images` (B, C, h, w) uint8: (B, ...) float32 on the CPU."""
    seen: list[Tensor] = []

    def note(_: Any, args: tuple[Tensor, ...]) -> None:
        seen.append(args[0].detach())

    handle = head.module.register_forward_pre_hook(note)
    try:
        _outputs(classifier, images)
    finally:
        handle.remove()
    return seen[-1].float().cpu()


def _outputs(classifier: Classifier, images: Tensor) -> Tensor:
    # Not inference mode: what it makes cannot be trained on afterwards.
    with evaluation_mode(classifier.module), torch.no_grad():
        return classifier.logits(images)


def _device() -> torch.device:
    """Where Lightning trains, too."""
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return found or torch.device("cpu")
