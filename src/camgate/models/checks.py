"""Whether classes, images and outputs fit what a `Classifier` needs. Each error says what does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

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


def checked_module(module: Any) -> nn.Module:
    """The network itself: what a compiled module or a `DataParallel` wraps.

    Raises:
        TypeError: no `nn.Module`.
        ModelError: a scripted, traced or exported module.
    """
    if isinstance(module, torch.export.ExportedProgram) or (
        # The graph of an exported program is a GraphModule whose eval() was taken away.
        isinstance(module, torch.fx.GraphModule) and "eval" in vars(module)
    ):
        raise ModelError(
            "the model is an exported program (torch.export): forward hooks do not fire in its graph and its "
            "image size is frozen, so no heatmap can look into it; hand over the network it was exported from"
        )
    if isinstance(module, torch.jit.ScriptModule):
        raise ModelError(
            f"the model is TorchScript ({type(module).__name__}): its layers do not run as Python modules, "
            "so a heatmap can neither look at one nor start a gradient there; hand over the network it was "
            "made from"
        )
    if not isinstance(module, nn.Module):
        raise TypeError(f"`module` must be a torch.nn.Module, got {type(module).__name__}")
    inner = getattr(module, "_orig_mod", None)
    if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        inner = module.module
    return checked_module(inner) if isinstance(inner, nn.Module) else module


def check_images(images: Tensor, channels: int = 3) -> None:
    """Raise InputError unless `images` are (B, channels, h, w) uint8."""
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != channels:
        raise InputError(
            f"`images` must be uint8 of shape (B, {channels}, h, w), got {images.dtype} of shape "
            f"{tuple(images.shape)}"
        )
