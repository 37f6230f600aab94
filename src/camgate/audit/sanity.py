"""Does the heatmap depend on what the model learnt? After Adebayo et al. 2018 (arXiv 1810.03292).

All weights are drawn afresh; maps of that untrained network must not resemble the model's own. A method
that traces edges, or the middle of the image, gives the same maps either way, and proves nothing.

The verdict rests on Spearman's rank correlation with all weights randomised. A cascade from the head down and
SSIM are reported only: their answers depend on the similarity measure and on where the cascade starts.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from scipy.ndimage import uniform_filter
from scipy.stats import rankdata
from scipy.stats import t as student
from torch import Tensor, nn

from camgate.errors import ModelError
from camgate.heatmaps.explainers import Explainer
from camgate.heatmaps.stages import main_stages, survey
from camgate.models.classifier import Classifier

SEEDS = 5
LEAST_IMAGES = 50
EVALUABLE = 0.5
"""Share of pairs of maps that must be alive in both networks; below it the stage before is looked at."""
CASCADE = (0.0, 0.25, 0.5, 1.0)
"""Shares of the layers, counted from the head, that are randomised; 0 is the last layer alone."""
CASCADE_IMAGES = 16
"""The first so many of the images; the cascade is reported only."""
BATCH = 25
"""A random network takes BatchNorm's statistics from at most so many images."""


class CascadeStep(BaseModel):
    """The map's likeness with only the layers nearest to the output randomised."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    layers: int
    similarity: float | None


class Sanity(BaseModel):
    """How much the maps of the untrained network resemble the model's own.

    Attributes:
        similarity: mean Spearman correlation over images and seeds, -1..1; None where not evaluable.
        low, high: 95 % interval over seeds (Student's t).
        per_seed: mean of each seed that was evaluable.
        between_images: mean Spearman correlation of maps of different images of the trained model: the
            likeness that a preference for a place alone gives.
        ssim: mean structural similarity (Wang 2004) of the maps, each divided by its maximum; reported only.
        cascade: likeness after randomising from the head downwards, of the first `CASCADE_IMAGES` maps;
            reported only.
        images: images looked at.
        dead: share of the randomised networks' maps that were dead.
        method, layer: what was explained; another layer than the audit's where the maps of that one die.
        reason: `ok`, or why it could not be evaluated: `too_few_images`, `dead_maps`, `not_possible`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    similarity: float | None = None
    low: float | None = None
    high: float | None = None
    per_seed: tuple[float, ...] = ()
    between_images: float | None = None
    ssim: float | None = None
    cascade: tuple[CascadeStep, ...] = ()
    images: int = 0
    dead: float | None = None
    method: str = ""
    layer: str = ""
    reason: Literal["ok", "too_few_images", "dead_maps", "not_possible"] = "ok"


def check_sanity(
    model: Classifier,
    images: Tensor,
    *,
    method: str,
    layer: str,
    own: tuple[np.ndarray, Tensor] | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Sanity:
    """Compare the model's maps with those of the same network with random weights.

    Args:
        model: the classifier; left as it was.
        images: uint8 `(n, C, h, w)`, a sample of the audited ones, at the preprocessing's size.
        method: explainer of the audit.
        layer: target layer of the audit.
        own: the model's own raw maps `(n, h, w)` and the classes explained `(n,)`, where they are known;
            None: made here, of the predicted classes.
        seed: of the random weights.
        progress: called with (networks done, networks in all).
    """
    report = progress or (lambda done, total: None)
    if len(images) < LEAST_IMAGES:
        return Sanity(images=len(images), method=method, layer=layer, reason="too_few_images")
    try:
        own = own or _maps(model, images, method, layer)
        found = _compare(model, images, own, method, layer, seed, report)
        if found.reason == "dead_maps" and (earlier := _stage_before(model, layer)) is not None:
            method, layer = "hirescam", earlier
            own = _maps(model, images, method, layer, own[1])
            found = _compare(model, images, own, method, layer, seed, report)
    except ModelError:
        return Sanity(images=len(images), method=method, layer=layer, reason="not_possible")
    return found


def _compare(
    model: Classifier,
    images: Tensor,
    own: tuple[np.ndarray, Tensor],
    method: str,
    layer: str,
    seed: int,
    report: Callable[[int, int], None],
) -> Sanity:
    found: list[tuple[float, float] | None] = []
    dead = []
    whole: list[np.ndarray] = []
    maps, targets = own
    with _RandomWeights(model, method, layer) as random:
        for number in range(SEEDS):
            others = random.maps(images, targets, layers=random.layers, seed=seed + number)
            dead.append(float(1 - alive(others).mean()))
            found.append(_likeness(maps, others))
            whole = whole or [others]
            report(number + 1, SEEDS)
        facts = {"images": len(images), "dead": float(np.mean(dead)), "method": method, "layer": layer}
        likeness = [each[0] for each in found if each is not None]
        structure = [each[1] for each in found if each is not None]
        if len(likeness) < 2 or not np.isfinite(likeness).all():
            return Sanity(**facts, reason="dead_maps")
        cascade = _cascade(random, images, own, seed, whole[0])
    mean = float(np.mean(likeness))
    half = float(student.ppf(0.975, len(likeness) - 1) * np.std(likeness, ddof=1) / np.sqrt(len(likeness)))
    living = maps[alive(maps)]
    return Sanity(
        **facts,
        similarity=mean,
        low=max(-1.0, mean - half),
        high=min(1.0, mean + half),
        per_seed=tuple(likeness),
        between_images=_finite(np.nanmean(spearman(living, np.roll(living, 1, axis=0)))),
        ssim=float(np.mean(structure)),
        cascade=cascade,
    )


def _likeness(own: np.ndarray, maps: np.ndarray) -> tuple[float, float] | None:
    """Mean Spearman correlation and structural similarity where both maps live; None where too few do."""
    both = alive(own) & alive(maps)
    if both.mean() < EVALUABLE:
        return None
    return float(np.nanmean(spearman(own[both], maps[both]))), float(np.mean(ssim(own[both], maps[both])))


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def alive(maps: np.ndarray) -> np.ndarray:
    """Which maps have a pattern at all, finite and not the same everywhere; `(n, h, w)` -> bool `(n,)`."""
    flat = maps.reshape(len(maps), -1)
    return np.asarray(np.isfinite(flat).all(axis=1) & (flat.max(axis=1) > flat.min(axis=1)))


def _maps(
    model: Classifier, images: Tensor, method: str, layer: str, targets: Tensor | None = None
) -> tuple[np.ndarray, Tensor]:
    """Raw maps `(n, h, w)` of the targets' classes (the predicted ones where None), and these `(n,)`."""
    with Explainer(model, layer=layer, method=method) as explainer:
        return _explained(explainer, images, targets)


def _explained(explainer: Explainer, images: Tensor, targets: Tensor | None) -> tuple[np.ndarray, Tensor]:
    parts = math.ceil(len(images) / BATCH)
    classes = [None] * parts if targets is None else targets.tensor_split(parts)
    heat = [explainer(*part) for part in zip(images.tensor_split(parts), classes, strict=True)]
    return np.concatenate([each.maps.numpy() for each in heat]), torch.cat([each.targets for each in heat])


def spearman(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation of each pair of maps, ties averaged; `(n, h, w)` twice -> `(n,)`."""
    ranks = [rankdata(maps.reshape(len(maps), -1), axis=1) for maps in (first, second)]
    a, b = (rank - rank.mean(axis=1, keepdims=True) for rank in ranks)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((a * b).sum(axis=1) / np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1)))


def ssim(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Structural similarity (Wang et al. 2004) of each pair of maps divided by their maximum, `(n,)`.

    Uniform window of 7 cells, or of the largest odd number that fits; constants 0.01 and 0.03.
    """
    x, y = (
        maps.astype(np.float64) / np.maximum(maps.max(axis=(1, 2), keepdims=True), 1e-300)
        for maps in (first, second)
    )
    side = min(7, *x.shape[1:])
    window = (1, side - (side + 1) % 2, side - (side + 1) % 2)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.asarray(uniform_filter(values, size=window))

    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    value = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    return np.asarray(value.mean(axis=(1, 2)))


def _stage_before(model: Classifier, layer: str) -> str | None:
    """The stage one resolution finer than the layer's; None where there is none."""
    names = [stage.name for stage in main_stages(model, survey(model).stages)]
    if layer not in names:
        return None
    return next(iter(names[names.index(layer) + 1 :]), None)


def _cascade(
    random: _RandomWeights, images: Tensor, own: tuple[np.ndarray, Tensor], seed: int, whole: np.ndarray
) -> tuple[CascadeStep, ...]:
    """Ends with the maps `whole` of all layers drawn by the same seed."""
    few = slice(0, CASCADE_IMAGES)
    maps, targets = own[0][few], own[1][few]
    steps = []
    for share in CASCADE:
        count = max(1, round(share * random.layers))
        if count < random.layers:
            others = random.maps(images[few], targets, layers=count, seed=seed)
        else:
            others = whole[few]
        found = _likeness(maps, others)
        steps.append(CascadeStep(layers=count, similarity=None if found is None else _finite(found[0])))
    return tuple(steps)


class _RandomWeights:
    """A copy of the network whose weights are drawn anew for each call; a context manager."""

    def __init__(self, model: Classifier, method: str, layer: str) -> None:
        self._model = model
        self._network = _copy(model)
        self._layers = _layers(self._network.module)
        self._explainer = Explainer(self._network, layer=layer, method=method)
        self._stack = ExitStack()

    def __enter__(self) -> _RandomWeights:
        self._stack.enter_context(self._explainer)
        self._stack.enter_context(_statistics_of_the_batch(self._network.module))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @property
    def layers(self) -> int:
        """How many there are."""
        return len(self._layers)

    def maps(self, images: Tensor, targets: Tensor, *, layers: int, seed: int) -> np.ndarray:
        """Raw maps of the targets with so many layers, those nearest to the output, drawn afresh."""
        mine, its = self._network.module, self._model.module
        with torch.no_grad():
            for ours, theirs in zip(mine.parameters(), its.parameters(), strict=True):
                ours.copy_(theirs)
        for part, model in zip(mine.modules(), its.modules(), strict=True):
            for name, buffer in model._buffers.items():  # replaced: a forward pass may change its shape
                part._buffers[name] = None if buffer is None else buffer.detach().clone()
        randomise(self._layers[-layers:], seed=seed)
        return _explained(self._explainer, images, targets)[0]


def _copy(model: Classifier) -> Classifier:
    try:
        module = copy.deepcopy(model.module)
    except Exception as error:
        raise ModelError(f"the network cannot be copied: {type(error).__name__}: {error}") from error
    made = Classifier(module, model.classes, model.preprocessing, head=model.head)
    made.takes_channels_last = model.takes_channels_last  # found once
    return made


def _layers(module: nn.Module) -> list[nn.Module]:
    """Modules that own parameters themselves, in the order in which they were registered."""
    return [part for part in module.modules() if any(True for _ in part.parameters(recurse=False))]


def randomise(layers: list[nn.Module], *, seed: int) -> None:
    """Draw the weights of these layers afresh, in place.

    A layer that knows how to begin (`reset_parameters`) begins again; other parameters are drawn from a
    normal distribution with the mean and spread that they have.

    Args:
        layers: modules of a network that may be changed.
        seed: of the weights.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for layer in layers:
            reset = getattr(layer, "reset_parameters", None)
            if callable(reset):
                reset()
            else:
                for parameter in layer.parameters(recurse=False):
                    spread = (
                        parameter.std(unbiased=False) if parameter.numel() > 1 else parameter.abs().mean()
                    )
                    parameter.copy_(torch.randn_like(parameter) * spread + parameter.mean())


@contextmanager
def _statistics_of_the_batch(module: nn.Module) -> Iterator[None]:
    """Each BatchNorm takes its statistics from the batch just before it normalises it.

    So they are estimated anew in the pass that makes the maps. The module stays in evaluation mode: to the
    backward pass the statistics are constants, and no map depends on another image by its gradient.
    """

    def estimate(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        (batch,) = inputs
        with torch.no_grad():
            mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
            if batch.device.type in ("cpu", "cuda"):
                # What training does first: with channels last ten times as fast as `var_mean`.
                found = torch.batch_norm_update_stats(batch, mean, variance, momentum=1.0)
            else:
                others = [axis for axis in range(batch.ndim) if axis != 1]
                found = torch.var_mean(batch, dim=others, correction=0)[::-1]
            mean.copy_(found[0])
            variance.copy_(found[1])

    with ExitStack() as stack:
        for part in module.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.track_running_stats:
                stack.callback(part.register_forward_pre_hook(estimate).remove)
        yield
