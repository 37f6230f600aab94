"""Networks by name, so that a saved classifier can be rebuilt without pickle.

A builder's name is one of

* a name registered with `@builder`, such as ``resnet_small``;
* ``torchvision:NAME`` for any classification network of torchvision;
* ``timm:NAME`` for any network of timm (extra ``camgate[timm]``);
* ``package.module:callable`` for the user's own code, only where the caller says `allow_code=True`.
"""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import torchvision.models as tv_models
from torch import Tensor, nn

from camgate.errors import ModelError

BUILDERS: dict[str, Callable[..., nn.Module]] = {}

TORCHVISION = "torchvision:"
TIMM = "timm:"
_IMPORT_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def builder(name: str) -> Callable[[Callable[..., nn.Module]], Callable[..., nn.Module]]:
    """Register a callable `(num_classes, **args) -> nn.Module` under `name`."""
    if ":" in name or name in BUILDERS:
        raise ValueError(f"`{name}` cannot name a builder: it is taken already, or holds a colon")

    def register(function: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        BUILDERS[name] = function
        return function

    return register


def runs_code(name: str) -> bool:
    """Whether building `name` imports and runs code that is not camgate's, torchvision's or timm's."""
    return name not in BUILDERS and not name.startswith((TORCHVISION, TIMM)) and ":" in name


def requirements_of(name: str | None) -> tuple[str, ...]:
    """Packages, as the index calls them, that building `name` needs beside those that camgate needs."""
    return ("timm",) if name is not None and name.startswith(TIMM) else ()


def starts_random(name: str) -> bool:
    """Whether `name` is known to give random weights: a user's own builder may bring trained ones."""
    return BUILDERS.get(name) is resnet_small or name.startswith((TORCHVISION, TIMM))


def build(
    name: str, args: Mapping[str, Any] | None, num_classes: int, *, allow_code: bool = False
) -> nn.Module:
    """Build a network with random weights.

    Args:
        name: a registered name, ``torchvision:NAME``, ``timm:NAME`` or ``package.module:callable``.
        args: keyword arguments for the builder, beside `num_classes`.
        num_classes: number of outputs.
        allow_code: import and call ``package.module:callable``. It runs whatever stands there, so
            say yes only for names that come from a source you trust.

    Raises:
        ModelError: unknown name, code that is not allowed, arguments that the builder refuses, or the extra
            `camgate[timm]` is missing.
    """
    if num_classes < 1:
        raise ModelError(f"`num_classes` must be at least 1, got {num_classes}")
    arguments = dict(args or {})
    if "num_classes" in arguments:
        raise ModelError("`num_classes` follows from the classes: leave it out of the builder's arguments")
    function = _find(name, arguments, allow_code=allow_code)
    try:
        module = function(num_classes=num_classes, **arguments)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"builder `{name}` failed with arguments {arguments}: {error}") from error
    if not isinstance(module, nn.Module):
        raise ModelError(f"builder `{name}` returned {type(module).__name__}, not a torch.nn.Module")
    return module


def _find(name: str, args: Mapping[str, Any], *, allow_code: bool) -> Callable[..., nn.Module]:
    if name in BUILDERS:
        return BUILDERS[name]
    if name.startswith(TORCHVISION):
        return _torchvision(name.removeprefix(TORCHVISION), args)
    if name.startswith(TIMM):
        return _timm(name.removeprefix(TIMM), args)
    if ":" not in name:
        raise ModelError(f"there is no builder `{name}`{_near(name, list(BUILDERS))}")
    if not _IMPORT_PATH.fullmatch(name):
        raise ModelError(f"builder `{name}` is not an import path of the form package.module:callable")
    if not allow_code:
        raise ModelError(
            f"builder `{name}` is an import path, and building it runs code: if you trust where the "
            "name comes from, allow it with allow_code=True"
        )
    return _imported(name)


def _torchvision(name: str, args: Mapping[str, Any]) -> Callable[..., nn.Module]:
    known = tv_models.list_models(module=tv_models)
    if name not in known:
        raise ModelError(f"torchvision has no classification network `{name}`{_near(name, known)}")
    _refuse(TORCHVISION + name, args, {"weights", "weights_backbone", "pretrained"})

    def build_it(**arguments: Any) -> nn.Module:
        module: nn.Module = tv_models.get_model(name, weights=None, **arguments)
        return module

    return build_it


def _timm(name: str, args: Mapping[str, Any]) -> Callable[..., nn.Module]:
    timm = _import_timm()
    known = timm.list_models()
    if name not in known:
        # A name with a tag, such as vit_tiny_patch16_224.augreg_in21k, means weights on a hub.
        near = f"; did you mean {name.split('.')[0]}?" if name.split(".")[0] in known else _near(name, known)
        raise ModelError(f"timm has no network `{name}`{near}")
    # `checkpoint_path` would put weights of the machine at hand into what has to be the same on each.
    pretrained = {"pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir"}
    _refuse(TIMM + name, args, pretrained)

    def build_it(**arguments: Any) -> nn.Module:
        module: nn.Module = timm.create_model(name, pretrained=False, **arguments)
        return module

    return build_it


def _import_timm() -> ModuleType:
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        raise ModelError(
            f"a builder timm:NAME needs an extra that is not installed ({error}): pip install 'camgate[timm]'"
        ) from error


def _refuse(name: str, args: Mapping[str, Any], pretrained: set[str]) -> None:
    refused = sorted(pretrained & set(args))
    if refused:
        raise ModelError(
            f"builder `{name}` takes no `{refused[0]}` (a builder gives random weights, the same on every "
            "machine): hand a file of weights to the training instead"
        )


def _imported(name: str) -> Callable[..., nn.Module]:
    module_name, _, path = name.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
        for part in path.split("."):
            found = getattr(found, part)
    except Exception as error:  # an import runs foreign code: anything may come out of it
        raise ModelError(f"builder `{name}` cannot be imported: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise ModelError(f"builder `{name}` is not callable")
    return found  # type: ignore[no-any-return]


def _near(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3)
    return f"; did you mean {', '.join(near)}?" if near else f"; known: {', '.join(sorted(known)[:12])}"


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (He et al. 2016): (B, c, h, w) -> (B, d, h/s, w/s)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        # Never in place: a heatmap hook may replace the output of any layer by a leaf of the graph.
        self.relu = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return relu(f(x) + shortcut(x))."""
        y = self.relu(self.norm1(self.conv1(x)))
        return self.relu(self.norm2(self.conv2(y)) + self.shortcut(x))  # type: ignore[no-any-return]


@builder("resnet_small")
def resnet_small(
    num_classes: int, *, widths: Sequence[int] = (16, 32, 64, 128), blocks: Sequence[int] = (1, 1, 2)
) -> nn.Module:
    """A small residual network for images of about 64 to 256 px: 0.6 million parameters.

    Its parts are named stem, stage1, stage2, stage3, pool, flatten and head. Each of the first four halves
    the side, so that the last map is 8x8 at 128 px: fine enough for heatmaps (4x4 is not).

    Args:
        num_classes: number of outputs.
        widths: channels of the stem and of each stage.
        blocks: residual blocks in each stage.
    """
    if len(widths) != len(blocks) + 1 or min((*widths, *blocks)) < 1:
        raise ModelError(
            f"resnet_small: `widths` is one longer than `blocks`, all at least 1; got {widths}, {blocks}"
        )
    net = nn.Sequential()
    net.add_module(
        "stem",
        nn.Sequential(nn.Conv2d(3, widths[0], 3, 2, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()),
    )
    for number, count in enumerate(blocks, start=1):
        inputs, outputs = widths[number - 1], widths[number]
        stage = [
            ResidualBlock(inputs, outputs, 2),
            *(ResidualBlock(outputs, outputs) for _ in range(count - 1)),
        ]
        net.add_module(f"stage{number}", nn.Sequential(*stage))
    net.add_module("pool", nn.AdaptiveAvgPool2d(1))
    net.add_module("flatten", nn.Flatten())
    net.add_module("head", nn.Linear(widths[-1], num_classes))
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return net
