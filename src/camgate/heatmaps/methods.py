"""Heatmap methods by name. The maths is pytorch-grad-cam's own where it can be fed with arrays."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pytorch_grad_cam import GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM, XGradCAM
from pytorch_grad_cam.utils.model_targets import FinerWeightedTarget
from torch import Tensor

from camgate.errors import InputError
from camgate.heatmaps.cases import Case
from camgate.heatmaps.names import let_gate, may_gate
from camgate.heatmaps.perturbing import ablationcam, scorecam

Maths = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(activations, gradients), both float32 `(B, C, h, w)` -> map `(B, h, w)` before ReLU."""

SIMILAR = 3
"""Classes that FinerCAM compares with, at most."""


@dataclass(frozen=True)
class Method:
    """A heatmap method.

    Attributes:
        name: by which `audit(method=...)` and a policy know it.
        explain: the maps `(B, h, w)` of a batch, before ReLU; a map depends on its own image only.
        class_specific: the map depends on the class explained.
        perturbs: it runs the network again, many times for each image.
        curved: it needs second derivatives, which fused attention has none of.
    """

    name: str
    explain: Callable[[Case], np.ndarray]
    class_specific: bool = True
    perturbs: bool = False
    curved: bool = False

    @property
    def gates(self) -> bool:
        """Whether a verdict may rest on it."""
        return may_gate(self.name)


METHODS: dict[str, Method] = {}


def register(entry: Method) -> None:
    """Make a method known under its name.

    Raises:
        ValueError: the name is taken, or holds a colon as the names of handed-in functions do.
    """
    if entry.name in METHODS or entry.name == "auto" or ":" in entry.name:
        raise ValueError(
            f"`{entry.name}` cannot name a heatmap method: it is taken already, or holds a colon"
        )
    METHODS[entry.name] = entry


def method(name: str, *, gates: bool = False, class_specific: bool = True) -> Callable[[Maths], Maths]:
    """Register the maths of a gradient method under a name.

    Args:
        name: of the method.
        gates: a verdict may rest on it. Say so only of a class-specific method whose maps and scores you
            have checked on models of known bias; a policy must name it besides.
        class_specific: its map depends on the class explained.

    Raises:
        ValueError: the name is taken, or a class-agnostic method is to gate.
    """
    if gates and not class_specific:
        raise ValueError(f"`{name}` is not class-specific, so it cannot gate")

    def enter(maths: Maths) -> Maths:
        def explain(case: Case) -> np.ndarray:
            return maths(case.activations, case.gradient())

        register(Method(name, explain, class_specific))
        if gates:
            let_gate(name)
        return maths

    return enter


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


gradcam = method("gradcam")(_borrow(GradCAM))
method("hirescam")(_borrow(HiResCAM))
method("gradcam++")(_borrow(GradCAMPlusPlus))
method("xgradcam")(_borrow(XGradCAM))
method("layercam")(_borrow(LayerCAM))


def first_component(values: np.ndarray) -> np.ndarray:
    """Projection of each image's cells on their first principal component (Muhammad and Yeasin 2020).

    pytorch-grad-cam leaves the component's sign to LAPACK, so that half of its maps may be the wrong way
    round. Here the cell farthest from the mean is positive (Chung and Ying 2025, eq. 13).

    Args:
        values: `(B, C, h, w)`.

    Returns:
        float32 `(B, h, w)`; zero where all cells are the same.
    """
    maps = []
    for image in np.nan_to_num(values.astype(np.float64)):
        cells = image.reshape(len(image), -1).T
        left, lengths, _ = np.linalg.svd(cells - cells.mean(axis=0), full_matrices=False)
        projection = left[:, 0] * lengths[0]
        if -projection.min() > projection.max():
            projection = -projection
        maps.append(projection.reshape(image.shape[1:]))
    return np.stack(maps).astype(np.float32)


def _eigencam(case: Case) -> np.ndarray:
    return first_component(case.activations)


@method("eigengradcam")
def _eigengradcam(activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    return first_component(activations * gradients)


def _finercam(case: Case) -> np.ndarray:
    """Gradcam of the class against its likes (Zhang et al. 2025), weighted by their probabilities."""
    return gradcam(case.activations, case.gradient(_against_similar))


def _against_similar(logits: Tensor, targets: Tensor) -> Tensor:
    values = []
    for scores, target in zip(logits, targets.tolist(), strict=True):
        distance = (scores.detach() - scores[target].detach()).abs()
        distance[target] = -1.0  # first, also where another class has the same logit
        likes = distance.argsort(stable=True)[1 : 1 + SIMILAR].tolist()
        values.append(FinerWeightedTarget(target, likes, 1.0)(scores))
    return torch.stack(values)


def _shapleycam(case: Case) -> np.ndarray:
    """Gradcam with a second-order term (Cai 2025)."""
    return gradcam(case.activations, case.gradient(curved=True))


register(Method("eigencam", _eigencam, class_specific=False))
register(Method("finercam", _finercam))
register(Method("shapleycam", _shapleycam, curved=True))
register(Method("scorecam", scorecam, perturbs=True))
register(Method("ablationcam", ablationcam, perturbs=True))


def find_method(name: str) -> Method:
    """The method registered under a name.

    Raises:
        InputError: no such method; names the near one and all there are.
    """
    if name in METHODS:
        return METHODS[name]
    plain = re.sub(r"[^a-z+]", "", name.lower()).replace("plusplus", "++")
    near = difflib.get_close_matches(plain, METHODS, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise InputError(f"no heatmap method {name!r}.{hint} There are: {', '.join(METHODS)}.")
