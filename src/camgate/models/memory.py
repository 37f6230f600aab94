"""Memory format of a batch: channels last, where a network takes it, makes convolutions on a CPU faster."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from camgate.models.heads import tensor_of, without_hooks

AGREE = 1e-4
"""Largest difference of the outputs in the two formats, relative to the largest output."""


def takes_channels_last(module: nn.Module, inputs: Tensor, classes: Sequence[str]) -> bool:
    """Whether channels-last inputs give the same outputs, by two forward passes.

    A network without a convolution gains nothing. One that flattens by `.view` raises on such inputs.

    Args:
        module: in evaluation mode.
        inputs: float `(B, C, h, w)`, as the module takes them.
        classes: names of the outputs.
    """
    if not any(isinstance(part, nn.Conv2d) for part in module.modules()):
        return False
    with without_hooks(module), torch.no_grad():
        plain = tensor_of(module(inputs), count=len(inputs), classes=classes)
        try:
            changed = module(inputs.contiguous(memory_format=torch.channels_last))
        except RuntimeError:
            return False
    other = tensor_of(changed, count=len(inputs), classes=classes)
    return bool((plain - other).abs().max() <= AGREE * plain.abs().max())
