"""Heatmaps of a batch: logits and raw maps from one forward pass.

pytorch-grad-cam runs the backward pass through the whole network, min-max scales the map and up-samples it.
Here the graph starts at the target layer, which makes a heatmap about as cheap as inference, and the map
stays as the formula gives it: ReLU'd, at the layer's resolution. Tokens and channels-last outputs are laid
out as `(B, C, h, w)` before a method sees them.
"""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from camgate.errors import InputError, ModelError
from camgate.heatmaps.cases import Case, Objective
from camgate.heatmaps.layouts import Layout, tensor_of, with_tensor
from camgate.heatmaps.methods import METHODS, find_method, method
from camgate.heatmaps.modules import find_layer, frozen_evaluation
from camgate.heatmaps.stages import survey
from camgate.models.classifier import Classifier

__all__ = ["METHODS", "Explainer", "Heatmaps", "find_method", "method"]


@dataclass(frozen=True)
class Heatmaps:
    """One batch explained.

    Attributes:
        logits: float32 `(B, classes)`, on the CPU.
        maps: float32 `(B, h, w)`, ReLU'd, not scaled; may hold NaN where the network's gradients do.
        targets: int64 `(B,)`, the class explained.
    """

    logits: Tensor
    maps: Tensor
    targets: Tensor


class Explainer:
    """Explains batches of a classifier at one layer; a context manager.

    Inside the context the module is in evaluation mode with frozen parameters and one hook; whatever
    happens, leaving it restores modes, `requires_grad` and hooks. `.grad` is never touched. A map does
    not depend on the other images of its batch.
    """

    def __init__(self, classifier: Classifier, *, layer: str, method: str) -> None:
        """Look up layer and method.

        Raises:
            InputError: no such method.
            ModelError: no such layer.
        """
        self._method = find_method(method)
        self._classifier = classifier
        self._layer_name = layer
        self._layer = find_layer(classifier.module, layer)
        self._layout: Layout | None = None
        self._stack = ExitStack()
        self._inside = False
        self._again = False
        self._cells: Tensor | None = None
        self._calls = 0
        self._leaf: Tensor | None = None
        self._images: Tensor | None = None
        self._logits: Tensor | None = None

    def __enter__(self) -> Explainer:
        if self._inside:
            raise RuntimeError("this explainer is in use already: make one for each `with`")
        with ExitStack() as stack:
            stack.enter_context(frozen_evaluation(self._classifier.module))
            self._layout = survey(self._classifier).layouts.get(self._layer_name)
            stack.callback(self._layer.register_forward_hook(self._start_graph).remove)
            self._stack = stack.pop_all()
        self._inside = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._inside = False
        self._forget()
        self._stack.close()

    def __call__(self, images: Tensor, targets: Tensor | None = None) -> Heatmaps:
        """One forward pass, one short backward pass.

        Args:
            images: uint8 `(B, C, h, w)`.
            targets: int64 `(B,)`, class to explain; None explains the predicted one.

        Raises:
            InputError: images or targets of another shape, type or range.
            ModelError: logits with NaN, or a layer that gives no single `(B, C, h, w)` map.
        """
        if not self._inside:
            raise RuntimeError("use the explainer inside its `with` block")
        self._forget()
        plain_attention = sdpa_kernel(SDPBackend.MATH) if self._method.curved else nullcontext()
        with torch.inference_mode(False), torch.enable_grad(), plain_attention:
            # Up to the layer nothing is differentiated; behind it memory is plain again, see `_start_graph`.
            logits = self._classifier.logits(images, channels_last=True)
        broken = int((~torch.isfinite(logits)).any(dim=1).sum())
        if broken:
            raise ModelError(
                f"the model gives NaN or infinite logits for {broken} of {len(images)} images of a batch; "
                "nothing can be concluded from such a model."
            )
        if self._leaf is None:
            raise ModelError(f"layer {self._layer_name!r} took no part in the forward pass.")
        if self._calls > 1:
            raise ModelError(
                f"layer {self._layer_name!r} runs {self._calls} times in one forward pass, so its map is "
                "ambiguous; name a layer that runs once."
            )
        self._images, self._logits = images, logits
        chosen = (
            logits.detach().argmax(dim=1).cpu()
            if targets is None
            else checked_targets(targets, *logits.shape)
        )
        return Heatmaps(logits.detach().cpu(), self.maps_for(chosen), chosen)

    def maps_for(self, targets: Tensor) -> Tensor:
        """Maps of other classes for the batch explained last, from the same forward pass.

        Args:
            targets: int64 `(B,)`.

        Returns:
            float32 `(B, h, w)`, as in `Heatmaps.maps`.

        Raises:
            InputError: targets of another shape, type or range.
        """
        leaf, images, logits = self._explained()
        case = Case(
            images=images.detach().cpu(),
            targets=checked_targets(targets, *logits.shape),
            logits=logits.detach().cpu(),
            activations=_array(self._mapped(leaf)),
            gradient=lambda objective=None, curved=False: _array(
                self._gradient(targets, objective, curved=curved)
            ),
            again=self._run_again,
        )
        raw = np.asarray(self._method.explain(case))
        return torch.from_numpy(np.maximum(raw, 0.0).astype(np.float32, copy=False))

    def gradients(self, targets: Tensor) -> Tensor:
        """Gradient of the targets' logits at the layer's cells, `(B, C, h, w)`."""
        return self._gradient(targets, None, curved=False)

    def relevance(self, targets: Tensor) -> Tensor:
        """Gradient times activation at each cell, summed over channels and signed, float32 `(B, h, w)`."""
        leaf, _, _ = self._explained()
        return (self.gradients(targets) * self._mapped(leaf.detach())).sum(dim=1).float().cpu()

    def _gradient(self, targets: Tensor, objective: Objective | None, *, curved: bool) -> Tensor:
        leaf, _, logits = self._explained()
        with torch.inference_mode(False), torch.enable_grad():
            classes = checked_targets(targets, *logits.shape).to(logits.device)
            values = (
                logits.gather(1, classes.unsqueeze(1)) if objective is None else objective(logits, classes)
            )
            # The sum over images: each logit depends on its own image only, so each gets its own gradient.
            chosen = values.sum()
            gradient: Tensor | None = None
            if chosen.requires_grad:
                (gradient,) = torch.autograd.grad(
                    chosen, leaf, retain_graph=True, allow_unused=True, create_graph=curved
                )
            if gradient is None:
                raise ModelError(
                    f"the logits do not depend on layer {self._layer_name!r}, or the model computes them "
                    "under no_grad or behind a detach, so there is no gradient to look at."
                )
            if curved and gradient.requires_grad:
                (bent,) = torch.autograd.grad(
                    gradient, leaf, grad_outputs=leaf.detach(), retain_graph=True, allow_unused=True
                )
                gradient = gradient if bent is None else gradient - 0.5 * bent
        return self._mapped(gradient.detach())

    def _run_again(
        self, images: Tensor, *, masks: Tensor | None = None, cells: Tensor | None = None
    ) -> Tensor:
        """`Again`: logits of changed copies, the batch explained staying as it was."""

        def multiply(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            def masked(value: Any) -> Any:
                if masks is None or not isinstance(value, Tensor) or value.ndim != 4:
                    return value
                return value * masks[:, None].to(value.device, value.dtype)

            return tuple(map(masked, args)), {key: masked(value) for key, value in kwargs.items()}

        self._again, self._cells = True, cells
        handle = self._classifier.module.register_forward_pre_hook(multiply, with_kwargs=True)
        try:
            with torch.no_grad():
                return self._classifier.logits(images).cpu()
        finally:
            handle.remove()
            self._again, self._cells = False, None

    def _mapped(self, output: Tensor) -> Tensor:
        assert self._layout is not None  # noqa: S101  the hook has refused outputs without one
        return self._layout.to_map(output)

    def _explained(self) -> tuple[Tensor, Tensor, Tensor]:
        if self._leaf is None or self._images is None or self._logits is None:
            raise RuntimeError(
                "explain a batch first, and ask for other classes before the `with` block ends"
            )
        return self._leaf, self._images, self._logits

    def _forget(self) -> None:
        self._calls = 0
        self._leaf = self._images = self._logits = None

    def _start_graph(self, layer: nn.Module, inputs: Any, output: Any) -> Any:
        given = tensor_of(output)
        if given is None or self._layout is None:
            raise ModelError(_no_map(self._layer_name, output))
        if self._again:
            if self._cells is None:
                return output
            return with_tensor(output, self._layout.replace(given, self._cells.to(given.device, given.dtype)))
        self._calls += 1
        # Two copies: one is what the map is made of, one goes on. An in-place ReLU behind the layer must not
        # change the first. Gradients are switched on here too, for networks with a backbone under no_grad.
        with torch.inference_mode(False), torch.enable_grad():
            plain = torch.contiguous_format
            self._leaf = given.detach().clone(memory_format=plain).requires_grad_()
            return with_tensor(output, self._leaf.clone(memory_format=plain))


def _no_map(layer: str, output: Any) -> str:
    shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    return (
        f"layer {layer!r} gives {shape}; a heatmap needs more than one cell: (B, C, h, w), (B, h, w, C), or "
        "(B, tokens, C) where the tokens form a grid with the input's proportions. Name a stage or a block."
    )


def checked_targets(targets: Tensor, count: int, classes: int) -> Tensor:
    """The targets as int64 on the CPU.

    Raises:
        InputError: they are not `count` numbers from 0 to `classes` - 1.
    """
    if targets.shape != (count,) or targets.is_floating_point():
        raise InputError(
            f"`targets` must be {count} class numbers, one an image, got {targets.dtype} of shape "
            f"{tuple(targets.shape)}"
        )
    wrong = sorted({int(target) for target in targets if not 0 <= int(target) < classes})
    if wrong:
        raise InputError(f"`targets` must be class numbers from 0 to {classes - 1}, got {wrong}")
    # Cloned, because a caller in inference mode hands in tensors that autograd may not keep.
    with torch.inference_mode(False):
        return targets.to("cpu", torch.int64).clone()


def _array(tensor: Tensor) -> np.ndarray:
    return np.asarray(tensor.detach().float().cpu().numpy())
