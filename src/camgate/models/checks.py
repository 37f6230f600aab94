"""Whether classes, images and outputs fit what a `Classifier` needs. Each error says what does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from camgate.errors import InputError, ModelError


def checked_classes(classes: Sequence[str]) -> tuple[str, ...]:
    """The class names as a tuple.

    Raises:
        ModelError: fewer than two, one that is no text or blank, or the same twice.
    """
    if isinstance(classes, str):
        raise ModelError(f"`classes` must be a list of names, got the text {classes!r}")
    names = tuple(classes)
    if len(names) < 2:
        raise ModelError(f"`classes` must name at least two classes, got {list(names)}")
    for position, name in enumerate(names):
        if not isinstance(name, str) or not name.strip():
            raise ModelError(f"`classes` must be non-empty texts, got {name!r} at position {position}")
        if name in names[:position]:
            raise ModelError(f"`classes` names {name!r} twice")
    return names


def check_images(images: Tensor) -> None:
    """Raise InputError unless `images` are (B, 3, h, w) uint8."""
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise InputError(
            f"`images` must be uint8 of shape (B, 3, h, w), got {images.dtype} of shape {tuple(images.shape)}"
        )


def checked_outputs(outputs: Any, *, count: int, classes: Sequence[str]) -> Tensor:
    """What a module returned for `count` images, if it is floating point logits (count, classes).

    Raises:
        ModelError: it is something else, such as a tuple, or has more or fewer outputs than classes.
    """
    if not isinstance(outputs, Tensor):
        raise ModelError(
            f"the model returns {type(outputs).__name__} instead of one tensor (B, classes): wrap it in a "
            "module that returns the logits only"
        )
    if outputs.ndim != 2 or outputs.shape[0] != count:
        raise ModelError(
            f"the model must return ({count}, {len(classes)}) for {count} images, got {tuple(outputs.shape)}"
        )
    if outputs.shape[1] != len(classes):
        raise ModelError(
            f"the model has {outputs.shape[1]} outputs, but {len(classes)} classes are named "
            f"({', '.join(classes)})"
        )
    if not outputs.is_floating_point():
        raise ModelError(f"the model must return floating point logits, got {outputs.dtype}")
    return outputs
