"""Gradient heatmaps by name: logits and raw maps from one forward pass.

The maths of each method is pytorch-grad-cam's own; what differs is how it is fed. There the backward
pass runs through the whole network and the map is min-max scaled and up-sampled. Here the graph starts
at the target layer, and the map stays as the formula gives it: ReLU'd, at the layer's resolution.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
import torch
from pytorch_grad_cam import GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM, XGradCAM
from torch import Tensor, nn

from camgate.errors import InputError, ModelError
from camgate.models.classifier import Classifier, evaluation_mode

Maths = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(activations, gradients), both float32 `(B, C, h, w)` -> map `(B, h, w)` before ReLU."""

METHODS: dict[str, Maths] = {}


def method(name: str) -> Callable[[Maths], Maths]:
    """Register the maths of a gradient method under a name."""

    def register(maths: Maths) -> Maths:
        METHODS[name] = maths
        return maths

    return register


class _NoHooks:
    """Stands in for the hooks that pytorch-grad-cam's classes release when they go."""

    def release(self) -> None:
        pass


def _borrow(cam_class: type[Any]) -> Maths:
    # The instance is made without its constructor, which would hook a model of its own.
    cam: Any = object.__new__(cam_class)
    cam.activations_and_grads = _NoHooks()

    def maths(activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
        return np.asarray(cam.get_cam_image(None, None, None, activations, gradients, False))

    return maths


method("gradcam")(_borrow(GradCAM))
method("hirescam")(_borrow(HiResCAM))
method("gradcam++")(_borrow(GradCAMPlusPlus))
method("xgradcam")(_borrow(XGradCAM))
method("layercam")(_borrow(LayerCAM))


def find_maths(name: str) -> Maths:
    """The maths registered under a name.

    Raises:
        InputError: no such method; names the near ones and all there are.
    """
    if name not in METHODS:
        near = difflib.get_close_matches(name, METHODS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise InputError(f"no heatmap method {name!r}.{hint} There are: auto, {', '.join(METHODS)}.")
    return METHODS[name]


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
        self._maths = find_maths(method)
        self._classifier = classifier
        self._layer_name = layer
        self._layer = find_layer(classifier.module, layer)
        self._stack = ExitStack()
        self._leaf: Tensor | None = None
        self._calls = 0
        self._logits: Tensor | None = None

    def __enter__(self) -> Explainer:
        module = self._classifier.module
        try:
            self._stack.enter_context(evaluation_mode(module))
            for parameter in module.parameters():
                self._stack.callback(parameter.requires_grad_, parameter.requires_grad)
                parameter.requires_grad_(False)
            self._stack.callback(self._layer.register_forward_hook(self._start_graph).remove)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._forget()
        self._stack.close()

    def __call__(self, images: Tensor, targets: Tensor | None = None) -> Heatmaps:
        """One forward pass, one short backward pass.

        Args:
            images: uint8 `(B, 3, h, w)`.
            targets: int64 `(B,)`, class to explain; None explains the predicted one.

        Raises:
            ModelError: logits with NaN, or a layer that gives no single `(B, C, h, w)` map.
        """
        self._forget()
        with torch.inference_mode(False), torch.enable_grad():
            logits = self._classifier.logits(images)
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
        self._logits = logits
        chosen = logits.argmax(dim=1).cpu() if targets is None else targets.to("cpu", torch.int64)
        return Heatmaps(logits.detach().cpu(), self.maps_for(chosen), chosen)

    def maps_for(self, targets: Tensor) -> Tensor:
        """Maps of other classes for the batch explained last, from the same forward pass.

        Args:
            targets: int64 `(B,)`.

        Returns:
            float32 `(B, h, w)`.
        """
        if self._leaf is None:
            raise RuntimeError("explain a batch first")
        gradients = self.gradients(targets)
        raw = self._maths(_array(self._leaf), _array(gradients))
        return torch.from_numpy(np.maximum(raw, 0.0).astype(np.float32, copy=False))

    def gradients(self, targets: Tensor) -> Tensor:
        """Gradient of the targets' logits at the layer's output, `(B, C, h, w)`."""
        if self._leaf is None or self._logits is None:
            raise RuntimeError("explain a batch first")
        with torch.inference_mode(False), torch.enable_grad():
            # Cloned, because a caller in inference mode hands in tensors that autograd may not keep.
            index = targets.clone().to(self._logits.device).unsqueeze(1)
            chosen = self._logits.gather(1, index).sum()
            if not chosen.requires_grad:
                raise ModelError(f"the logits do not depend on layer {self._layer_name!r}.")
            (gradient,) = torch.autograd.grad(chosen, self._leaf, retain_graph=True, allow_unused=True)
        if gradient is None:
            raise ModelError(f"the logits do not depend on layer {self._layer_name!r}.")
        return gradient

    def _forget(self) -> None:
        self._calls = 0
        self._leaf = self._logits = None

    def _start_graph(self, layer: nn.Module, inputs: Any, output: Any) -> Tensor:
        if not isinstance(output, Tensor) or output.ndim != 4 or min(output.shape[2:]) < 2:
            shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise ModelError(
                f"layer {self._layer_name!r} gives {shape}; a heatmap needs (B, C, h, w) with more than one "
                "cell. Name a convolutional stage."
            )
        self._calls += 1
        self._leaf = output.detach().requires_grad_()
        # A copy goes on, because an in-place ReLU behind the layer must not change what the map is made of.
        return self._leaf.clone()


def find_layer(module: nn.Module, name: str) -> nn.Module:
    """The sub-module of that dotted name.

    Raises:
        ModelError: there is none; offers the near ones.
    """
    layers: dict[str, nn.Module] = dict(module.named_modules())
    if name and name in layers:
        return layers[name]
    near = difflib.get_close_matches(name, [layer for layer in layers if layer], n=3, cutoff=0.4)
    hint = (
        f"near ones: {', '.join(near)}"
        if near
        else f"top-level ones: {', '.join(dict(module.named_children()))}"
    )
    raise ModelError(f"the model has no layer {name!r}; {hint}.")


def _array(tensor: Tensor) -> np.ndarray:
    return np.asarray(tensor.detach().float().cpu().numpy())
