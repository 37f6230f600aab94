"""Which layers a network's information passes through, from one forward pass of noise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from camgate.heatmaps.layouts import Layout, Shape, tensor_of, with_tensor
from camgate.heatmaps.modules import find_layer, frozen_evaluation
from camgate.models.classifier import Classifier


@dataclass(frozen=True)
class Run:
    """One run of one module: the shapes of what it took and gave, two images long.

    Attributes:
        name: dotted module name.
        module: the module.
        taken: shape of its first input, or of its output where the input is no tensor.
        given: shape of the tensor it passes on.
        constant: for three axes, how many of the first tokens are the same for both images.
    """

    name: str
    module: nn.Module
    taken: Shape
    given: Shape
    constant: int = 0


@dataclass
class Trace:
    """What one forward pass of two images shows.

    Attributes:
        runs: every run of a module that gave a tensor, in the order in which they ended.
        calls: times each module ran.
        whole: modules through which all information goes; the logits see the image through them only.
    """

    runs: list[Run] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    whole: set[str] = field(default_factory=set)


def probe(classifier: Classifier, count: int = 1) -> Tensor:
    """Noise at the classifier's input size, uint8 `(count, C, h, w)`, always the same."""
    generator = torch.Generator().manual_seed(0)
    shape = (count, classifier.preprocessing.channels, *classifier.preprocessing.size)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def trace(classifier: Classifier) -> Trace:
    """Run the network once and note what every module takes and gives, and what passes it by.

    All information goes through a layer when every path of the autograd graph from the logits to the image
    goes through its output. That is counted for all layers at once: paths above times paths below must be
    all paths there are. Where the network itself cuts the graph (`no_grad` in its forward) it cannot be
    known, and is taken as true.
    """
    found = Trace()
    nodes: dict[str, tuple[Any, int]] = {}
    roots: list[Any] = []

    def recorder(name: str) -> Any:
        def record(module: nn.Module, inputs: Any, output: Any) -> None:
            given = tensor_of(output)
            found.calls[name] += 1
            if given is None:
                return
            taken = inputs[0] if inputs and isinstance(inputs[0], Tensor) else given
            constant = _constant_tokens(given) if given.ndim == 3 else 0
            found.runs.append(Run(name, module, tuple(taken.shape), tuple(given.shape), constant))
            nodes[name] = (given.grad_fn, given.output_nr)

        return record

    def track(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        def tracked(value: Any) -> Any:
            if not isinstance(value, Tensor) or not value.is_floating_point():
                return value
            # Cloned, because an in-place first layer must not meet a leaf of the graph.
            copy = value.detach().requires_grad_().clone()
            roots.append(copy.grad_fn)
            return copy

        return tuple(map(tracked, args)), {key: tracked(value) for key, value in kwargs.items()}

    with ExitStack() as stack:
        stack.enter_context(frozen_evaluation(classifier.module))
        stack.callback(classifier.module.register_forward_pre_hook(track, with_kwargs=True).remove)
        for name, module in classifier.module.named_modules():
            if name:
                stack.callback(module.register_forward_hook(recorder(name)).remove)
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        # The graph's shape is all that is wanted, so what a backward pass would need is let go at once.
        stack.enter_context(torch.autograd.graph.saved_tensors_hooks(lambda tensor: None, lambda none: none))
        logits = classifier.logits(probe(classifier, 2))
        found.whole.update(_whole(logits, nodes, roots))
    return found


def reads(classifier: Classifier, name: str, layout: Layout, *, cells: bool) -> bool:
    """Whether the logits depend on a layer's cells, or else on its prefix tokens.

    They are made NaN, which spreads to all that depends on them, through zero weights too.
    """

    def poison(module: nn.Module, inputs: Any, output: Any) -> Any:
        given = tensor_of(output)
        if given is None:
            return output
        given = given.clone()
        if cells:
            layout.to_map(given).fill_(float("nan"))
        else:
            given[:, : layout.prefix] = float("nan")
        return with_tensor(output, given)

    with (
        frozen_evaluation(classifier.module),
        hooked(find_layer(classifier.module, name), poison),
        torch.no_grad(),
    ):
        return bool(classifier.logits(probe(classifier)).isnan().any())


@contextmanager
def hooked(layer: nn.Module, hook: Any) -> Iterator[None]:
    """A forward hook that is gone afterwards."""
    handle = layer.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _constant_tokens(row: Tensor) -> int:
    """How many of the first tokens of `(2, N, C)` are the same for both images."""
    if len(row) != 2:
        return 0
    differs = (row[0] != row[1]).any(dim=1).nonzero()
    return int(differs[0]) if len(differs) else row.shape[1]


def _whole(logits: Tensor, nodes: dict[str, tuple[Any, int]], roots: list[Any]) -> set[str]:
    order = _from_the_logits(logits.grad_fn)
    below: dict[Any, int] = {}  # paths from a node to the image
    for node in reversed(order):
        below[node] = 1 if node in roots else sum(below[after] for after, _ in _next(node))
    every = below.get(logits.grad_fn, 0)
    if every == 0:
        return set(nodes)
    # Paths from the logits to each output of a node: a chunk's other half is another way.
    above: Counter[tuple[Any, int]] = Counter({(logits.grad_fn, logits.output_nr): 1})
    arriving: Counter[Any] = Counter({logits.grad_fn: 1})
    for node in order:
        for after, output in _next(node):
            above[after, output] += arriving[node]
            arriving[after] += arriving[node]
    return {
        name for name, (node, output) in nodes.items() if above[node, output] * below.get(node, 0) == every
    }


def _next(node: Any) -> list[tuple[Any, int]]:
    return [(after, output) for after, output in node.next_functions if after is not None]


def _from_the_logits(start: Any) -> list[Any]:
    """The graph's nodes, each before those it leads to."""
    order: list[Any] = []
    done: set[Any] = set()
    stack = [(start, False)] if start is not None else []
    while stack:
        node, ended = stack.pop()
        if ended:
            order.append(node)
        elif node not in done:
            done.add(node)
            stack.append((node, True))
            stack.extend((after, False) for after, _ in _next(node) if after not in done)
    return order[::-1]
