"""Finding a layer by name, and leaving a network as it was found."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from torch import nn

from camgate.errors import ModelError
from camgate.models.classifier import evaluation_mode


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


@contextmanager
def frozen_evaluation(module: nn.Module) -> Iterator[None]:
    """Evaluation mode with frozen parameters; modes and every `requires_grad` are restored, come what may."""
    with ExitStack() as stack:
        stack.enter_context(evaluation_mode(module))
        for parameter in module.parameters():
            stack.callback(parameter.requires_grad_, parameter.requires_grad)
            parameter.requires_grad_(False)
        yield
