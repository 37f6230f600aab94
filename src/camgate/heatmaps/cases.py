"""What a heatmap method sees of one batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor

Objective = Callable[[Tensor, Tensor], Tensor]
"""(logits `(B, classes)`, targets `(B,)`) -> what is explained of each image, `(B,)`."""


class Again(Protocol):
    """More forward passes over images of the batch."""

    def __call__(self, images: Tensor, *, masks: Tensor | None = None, cells: Tensor | None = None) -> Tensor:
        """Logits `(n, classes)` on the CPU, without gradients.

        Args:
            images: uint8 `(n, 3, H, W)`.
            masks: float `(n, H, W)`; the network's input is multiplied by them.
            cells: float `(n, C, h, w)`; takes the place of the layer's cells.
        """


class Gradient(Protocol):
    """Gradients at the layer's cells."""

    def __call__(self, objective: Objective | None = None, *, curved: bool = False) -> np.ndarray:
        """Gradient of each image's objective, float32 `(B, C, h, w)`.

        Args:
            objective: what is differentiated; None is the target's logit.
            curved: subtract half the Hessian times the activations, as ShapleyCAM does.
        """


@dataclass(frozen=True)
class Case:
    """One batch at one layer.

    Attributes:
        images: uint8 `(B, 3, H, W)`.
        targets: int64 `(B,)`, the classes explained, on the CPU.
        logits: float32 `(B, classes)`, on the CPU.
        activations: float32 `(B, C, h, w)`.
        gradient: differentiates at the layer.
        again: runs the network once more.
    """

    images: Tensor
    targets: Tensor
    logits: Tensor
    activations: np.ndarray
    gradient: Gradient
    again: Again
