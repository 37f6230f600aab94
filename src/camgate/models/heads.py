"""What a network's output means: logits of exclusive classes, one sigmoid, probabilities - or something else.

Whatever it is, the rest of camgate sees logits `(B, classes)` whose softmax are the probabilities. Outputs
that mean something else (several labels an image, boxes, pixels) are refused by name.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from camgate.errors import ModelError, some_of

Head = Literal["logits", "probabilities", "sigmoid", "sigmoid_probability"]
"""`logits` and `probabilities` of exclusive classes `(B, classes)`; `sigmoid` is the one logit `(B, 1)` of
the second of two classes, `sigmoid_probability` its probability."""

HEADS: tuple[Head, ...] = ("logits", "probabilities", "sigmoid", "sigmoid_probability")

_SMALLEST = 1e-30
"""Probabilities below it are taken as it, so that their logarithm is finite."""


def find_head(module: nn.Module, inputs: Tensor, classes: Sequence[str]) -> Head:
    """Decide by one forward pass what the outputs are.

    One output for two classes is a sigmoid. Rows that are not negative and sum to 1 are probabilities: logits
    never do in all rows. A single output is a probability where the last module that runs is `nn.Sigmoid`.

    Args:
        module: in evaluation mode.
        inputs: float `(B, C, h, w)`, as the module takes them.
        classes: names of the outputs.

    Raises:
        ModelError: the outputs are no classification, or one with several labels an image.
    """
    last: list[nn.Module] = []
    with without_hooks(module), torch.no_grad():
        handles = [
            part.register_forward_hook(lambda part, _, __: last.append(part))
            for part in module.modules()
            if next(part.children(), None) is None
        ]
        try:
            outputs = tensor_of(module(inputs), count=len(inputs), classes=classes)
        finally:
            for handle in handles:
                handle.remove()
    ends_in_sigmoid = bool(last) and isinstance(last[-1], nn.Sigmoid)
    if outputs.shape[1] == 1:
        return "sigmoid_probability" if ends_in_sigmoid else "sigmoid"
    several = _several_labels(module) or ("it ends in a sigmoid" if ends_in_sigmoid else None)
    if several is not None:
        raise ModelError(
            f"the model is a multi-label classifier ({several}): it gives each of its "
            f"{outputs.shape[1]} labels a probability of its own. camgate audits exclusive classes; audit "
            "one label at a time, by a module that returns that label's logit (B, 1), with classes "
            '["no ...", "..."]'
        )
    sums = outputs.float().sum(dim=1)
    if bool((outputs >= 0).all()) and bool(((sums - 1).abs() < 1e-3).all()):
        return "probabilities"
    return "logits"


def to_logits(outputs: Tensor, head: Head) -> Tensor:
    """Outputs of a head as logits of exclusive classes.

    Args:
        outputs: `(B, classes)`, or `(B, 1)` for the two kinds of sigmoid.
        head: what they are.

    Returns:
        `(B, classes)` float32. One sigmoid logit z becomes (-z/2, z/2), whose softmax is the sigmoid, so that
        what speaks for the first class is what speaks against the second.
    """
    outputs = outputs.float()
    if head == "probabilities":
        return outputs.clamp(min=_SMALLEST).log()
    if head == "sigmoid_probability":
        outputs = torch.logit(outputs, eps=1e-7)
    if head in ("sigmoid", "sigmoid_probability"):
        return torch.cat([-outputs / 2, outputs / 2], dim=1)
    return outputs


def tensor_of(outputs: Any, *, count: int, classes: Sequence[str]) -> Tensor:
    """The tensor `(count, outputs)` in whatever a module returned for `count` images.

    Taken is a tensor; the `logits` of an object or a mapping, as Hugging Face's classifiers return; or the
    first of a tuple, as networks with auxiliary outputs do.

    Raises:
        ModelError: the outputs are boxes, masks, features or anything else, or as many as no class list fits.
    """
    keys = _keys(outputs)
    for marks, refusal in _OTHERS:
        if marks & keys:
            raise ModelError(refusal)
    found = _unpacked(outputs)
    if not isinstance(found, Tensor):
        what = (
            f"{type(outputs).__name__} with {', '.join(sorted(keys)[:5])}" if keys else type(outputs).__name__
        )
        raise ModelError(
            f"the model returns {what} instead of one tensor (B, classes): wrap it in a module that returns "
            "the logits only"
        )
    if found.ndim == 4:
        raise ModelError(
            f"the model returns {tuple(found.shape)}: a segmentation network (a score for each pixel) or a "
            "feature extractor without a head; camgate audits image classifiers, which return (B, classes)"
        )
    if found.ndim != 2 or found.shape[0] != count:
        raise ModelError(
            f"the model must return ({count}, {len(classes)}) for {count} images, got {tuple(found.shape)}"
        )
    if not found.is_floating_point():
        raise ModelError(f"the model must return floating point logits, got {found.dtype}")
    if found.shape[1] == 1 and len(classes) != 2:
        raise ModelError(
            f"the model has one output, a sigmoid of two classes, but {len(classes)} classes are named: give "
            "two names, first the one that a low output stands for"
        )
    if found.shape[1] not in (1, len(classes)):
        raise ModelError(
            f"the model has {found.shape[1]} outputs, but {len(classes)} classes are named "
            f"({some_of(classes)})"
        )
    return found


def _unpacked(outputs: Any) -> Any:
    if isinstance(outputs, tuple) and outputs and not hasattr(outputs, "logits"):
        return outputs[0]
    if isinstance(outputs, Mapping) and "logits" in outputs:
        return outputs["logits"]
    return getattr(outputs, "logits", outputs)


def _keys(outputs: Any) -> set[str]:
    """Names of what a structured output holds; of a list, of its first entry."""
    first = outputs[0] if isinstance(outputs, list | tuple) and outputs else outputs
    return {str(key) for key in first} if isinstance(first, Mapping) else set()


_OTHERS: tuple[tuple[set[str], str], ...] = (
    (
        {"boxes", "pred_boxes", "bboxes"},
        "the model is an object detector (it returns boxes); camgate audits image classifiers: crop the "
        'objects (load_coco(..., multiple="crop")) and audit a classifier of the crops',
    ),
    (
        {"out", "masks", "pred_masks", "masks_queries_logits"},
        "the model is a segmentation network (it returns masks); camgate audits image classifiers, which "
        "return (B, classes)",
    ),
    (
        {"last_hidden_state", "pooler_output", "image_embeds"},
        "the model is a backbone without a classification head (it returns features); load it as a "
        "classifier, e.g. AutoModelForImageClassification",
    ),
)


def _several_labels(module: nn.Module) -> str | None:
    """What says that each output is a label of its own; None where nothing does."""
    problem = getattr(getattr(module, "config", None), "problem_type", None)
    if problem == "multi_label_classification":
        return "its config says problem_type=multi_label_classification"
    for name, part in module.named_children():
        if isinstance(part, nn.BCEWithLogitsLoss | nn.BCELoss | nn.MultiLabelSoftMarginLoss):
            return f"its loss `{name}` is {type(part).__name__}"
    return None


@contextmanager
def without_hooks(module: nn.Module) -> Iterator[None]:
    """Run the module as if nobody listened: a probe must not be taken for the pass that is listened to."""
    names = ("_forward_hooks", "_forward_pre_hooks")
    # Parametrisations of the old style (weight_norm) recompute weights in a pre-hook; these stay as they are.
    kept = [(part, name, getattr(part, name)) for part in module.modules() for name in names]
    try:
        for part, name, _ in kept:
            setattr(part, name, OrderedDict())
        yield
    finally:
        for part, name, hooks in kept:
            setattr(part, name, hooks)
