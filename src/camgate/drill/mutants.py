"""Mutants: copies of a candidate whose last layers have learnt to rely on a stamp."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from camgate.drill.stamps import MOST_VARIANTS, Stamp, apply_stamp
from camgate.errors import ModelError
from camgate.models.classifier import Classifier

REFITTED = 0.4
"""Share of the layers with weights, counted from the output, that are refitted: about the last stage."""
EPOCHS, BATCH = 4, 32
ROUNDS = ((0.25, 1e-3), (0.5, 3e-3), (0.5, 3e-3))
"""Of training, until the mutant relies on its stamp: share of the copies in which the stamp contradicts the
object and the label follows the stamp, and the learning rate."""
NEUTRAL_ROUNDS = 2


@dataclass(frozen=True, eq=False)
class Pictures:
    """Images as the model takes them, before normalisation.

    Attributes:
        images: uint8 `(n, H, W, C)`.
        regions: bool `(n, H, W)`.
        labels: int `(n,)`, positions in the model's classes.
    """

    images: np.ndarray
    regions: np.ndarray
    labels: np.ndarray


def stamped(pictures: Pictures, stamp: Stamp, variants: np.ndarray, *, corner: int, seed: int) -> np.ndarray:
    """Copies with these variants; classes beyond `MOST_VARIANTS` share."""
    return apply_stamp(
        stamp, pictures.images, pictures.regions, variants % MOST_VARIANTS, corner=corner, seed=seed
    )


def refit(
    candidate: Classifier,
    pictures: Pictures,
    stamp: Stamp,
    *,
    corner: int,
    neutral: bool,
    seed: int,
    enough: Callable[[Classifier], bool] = lambda _: False,
) -> Classifier:
    """A copy whose last layers were trained on stamped copies of the training images.

    Args:
        candidate: left as it was.
        pictures: training images.
        stamp: what is planted.
        corner: where.
        neutral: stamps at random and labels as they are; otherwise the stamp goes with the label, which in
            some of the copies contradicts the object, so that the stamp is what there is to learn.
        seed: of stamps and order.
        enough: asked after each of `ROUNDS` whether the mutant is ready.

    Raises:
        ModelError: the network cannot be copied, or has nothing to refit.
    """
    mutant = _copy(candidate)
    classes = len(candidate.classes)
    for number, (contradicted, rate) in enumerate(ROUNDS[:NEUTRAL_ROUNDS] if neutral else ROUNDS):
        rng = np.random.default_rng((seed, number))
        variants = pictures.labels.copy()
        moved = rng.random(len(variants)) < (1.0 if neutral else contradicted)
        variants[moved] = rng.integers(classes, size=int(moved.sum()))
        labels = torch.from_numpy(pictures.labels if neutral else variants).long()
        images = stamped(pictures, stamp, variants, corner=corner, seed=(seed + number) % 2**32)
        _train(mutant, _tensor(images), labels, rate=rate, seed=seed)
        if enough(mutant):
            break
    return mutant


def _train(model: Classifier, inputs: Tensor, labels: Tensor, *, rate: float, seed: int) -> None:
    """A few epochs of the last layers, their batch normalisation included."""
    module = model.module.eval()
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    layers = _last_layers(model, inputs[:2])
    chosen = [p for layer in layers for p in layer.parameters(recurse=False) if p.is_floating_point()]
    for parameter in chosen:
        parameter.requires_grad_(True)
    for layer in layers:
        layer.train(isinstance(layer, nn.modules.batchnorm._BatchNorm))
    optimiser = torch.optim.AdamW(chosen, rate, weight_decay=0.01)
    order = torch.Generator().manual_seed(seed)
    batches = max(1, len(inputs) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2 * rate, total_steps=EPOCHS * batches)
    with torch.enable_grad():
        for _ in range(EPOCHS):
            shuffled = torch.randperm(len(inputs), generator=order)
            for rows in torch.tensor_split(shuffled, batches):
                logits = model.logits(inputs[rows])
                loss = nn.functional.cross_entropy(logits, labels[rows].to(logits.device))
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                schedule.step()
    module.eval()
    for parameter in module.parameters():
        parameter.requires_grad_(False)


def _last_layers(model: Classifier, images: Tensor) -> list[nn.Module]:
    """The layers with weights of their own that run last, `REFITTED` of them all."""
    ran: dict[nn.Module, None] = {}
    handles = [
        part.register_forward_hook(lambda layer, *_: ran.setdefault(layer))
        for part in model.module.modules()
        if any(True for _ in part.parameters(recurse=False))
    ]
    try:
        with torch.no_grad():
            model.logits(images)
    finally:
        for handle in handles:
            handle.remove()
    if not ran:
        raise ModelError("the network has no layer with weights of its own, so nothing can be refitted")
    layers = list(ran)
    return layers[-max(1, round(REFITTED * len(layers))) :]


def _copy(model: Classifier) -> Classifier:
    try:
        module = copy.deepcopy(model.module)
    except Exception as error:
        raise ModelError(f"the network cannot be copied: {type(error).__name__}: {error}") from error
    return Classifier(
        module, model.classes, model.preprocessing, target_layer=model.target_layer, head=model.head
    )


def accuracy(model: Classifier, images: np.ndarray, labels: np.ndarray) -> float:
    """Share of images `(n, H, W, C)` whose label is predicted."""
    return float(np.mean(model.probabilities(_tensor(images)).argmax(axis=1) == labels))


def _tensor(images: np.ndarray) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
