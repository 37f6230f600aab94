"""Maps from any function that is handed in: for looking, whatever it does."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from camgate.errors import InputError, ModelError
from camgate.heatmaps.explainers import Explainer, Heatmaps
from camgate.heatmaps.flow import probe
from camgate.heatmaps.layers import LayerChoice
from camgate.heatmaps.modules import frozen_evaluation
from camgate.models.classifier import Classifier

MapFunction = Callable[[Classifier, Tensor, Tensor], Any]
"""(classifier, images uint8 `(B, C, H, W)`, targets int64 `(B,)`) -> raw maps `(B, h, w)`, array or tensor.

Any resolution, the same for all images; negative values count as zero. A map must depend on its own image
only. The module is in evaluation mode with frozen parameters; gradients are enabled.
"""


def name_of(function: MapFunction) -> str:
    """By which an audit records the function: `package.module:function`."""
    return (
        f"{getattr(function, '__module__', '?')}:{getattr(function, '__qualname__', type(function).__name__)}"
    )


def explainer_of(classifier: Classifier, method: str | MapFunction, layer: str) -> Explainer | HandedIn:
    """What explains batches: a method by name at a layer, or a function of one's own."""
    if isinstance(method, str):
        return Explainer(classifier, layer=layer, method=method)
    return HandedIn(classifier, method)


def choice_for(classifier: Classifier, function: MapFunction) -> LayerChoice:
    """The size of the function's maps, on noise; there is no layer to choose.

    Raises:
        ModelError: see `HandedIn`.
    """
    with HandedIn(classifier, function) as explainer:
        grid = explainer(probe(classifier, 2)).maps.shape[1:]
    reason = f"maps come from the function {name_of(function)}; {grid[0]} x {grid[1]} cells"
    return LayerChoice("", reason, (grid[0], grid[1]), False, "caller")


class HandedIn:
    """Explains batches by a function; the same interface as `Explainer`."""

    def __init__(self, classifier: Classifier, function: MapFunction) -> None:
        self._classifier = classifier
        self._function = function
        self._images: Tensor | None = None

    def __enter__(self) -> HandedIn:
        self._frozen = frozen_evaluation(self._classifier.module)
        self._frozen.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._images = None
        self._frozen.__exit__(kind, error, trace)

    def __call__(self, images: Tensor, targets: Tensor | None = None) -> Heatmaps:
        """Logits by one forward pass, maps by the function; see `Explainer.__call__`."""
        with torch.no_grad():
            logits = self._classifier.logits(images).cpu()
        broken = int((~torch.isfinite(logits)).any(dim=1).sum())
        if broken:
            raise ModelError(f"the model gives NaN or infinite logits for {broken} of {len(images)} images.")
        self._images = images
        chosen = logits.argmax(dim=1) if targets is None else targets.to("cpu", torch.int64)
        return Heatmaps(logits, self.maps_for(chosen), chosen)

    def maps_for(self, targets: Tensor) -> Tensor:
        """Maps of other classes for the batch explained last.

        Raises:
            ModelError: the function raises, or returns something else than maps `(B, h, w)`.
        """
        if self._images is None:
            raise RuntimeError("explain a batch first")
        name, count = name_of(self._function), len(self._images)
        try:
            with torch.inference_mode(False), torch.enable_grad():
                given = self._function(self._classifier, self._images, targets)
        except InputError:
            raise
        except Exception as error:  # foreign code: anything may come out of it
            raise ModelError(f"the heatmap function {name} raised {type(error).__name__}: {error}") from error
        maps = np.asarray(given.detach().cpu() if isinstance(given, Tensor) else given)
        if maps.ndim != 3 or len(maps) != count or min(maps.shape[1:]) < 2 or maps.dtype.kind not in "fiu":
            raise ModelError(
                f"the heatmap function {name} must return maps ({count}, h, w) for {count} images, "
                f"got {maps.dtype} of shape {maps.shape}"
            )
        return torch.from_numpy(np.maximum(maps, 0).astype(np.float32))
