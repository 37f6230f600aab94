"""Gradient methods by name. The maths of each is pytorch-grad-cam's own, fed with arrays."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from pytorch_grad_cam import GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM, XGradCAM

from camgate.errors import InputError

Maths = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(activations, gradients), both float32 `(B, C, h, w)` -> map `(B, h, w)` before ReLU."""

METHODS: dict[str, Maths] = {}

AGNOSTIC = ("eigencam", "kpcacam", "scorecam", "ablationcam", "fullgrad", "randomcam")
"""Methods people ask for that are class-agnostic, or perturb the image, or need the whole network."""


def method(name: str) -> Callable[[Maths], Maths]:
    """Register the maths of a gradient method under a name."""
    if name in METHODS or name == "auto":
        raise ValueError(f"`{name}` cannot name a heatmap method: it is taken already")

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
    if name in METHODS:
        return METHODS[name]
    plain = re.sub(r"[^a-z+]", "", name.lower())
    near = difflib.get_close_matches(plain.replace("plusplus", "++"), METHODS, n=1)
    hint = f" Did you mean {near[0]!r}?" if near and plain not in AGNOSTIC else ""
    if plain in AGNOSTIC:
        hint = " It does not look at one class's gradient, so it cannot gate."
    raise InputError(f"no heatmap method {name!r}.{hint} There are: {', '.join(METHODS)}.")
