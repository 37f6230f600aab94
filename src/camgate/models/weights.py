"""Weights to start a training from: a file, or weights that torchvision knows by name."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
import torchvision.models as tv_models
from torch import Tensor, nn

from camgate.errors import ModelError
from camgate.models.builders import TORCHVISION
from camgate.models.storage import parse_safetensors, restore_state

_WRAPPED_IN = ("state_dict", "model", "model_state_dict")
_DENSE = re.compile(r"(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.\w+)")
"""Keys of the DenseNet files of torchvision, which come from a time when names could hold dots."""


def start_from(module: nn.Module, weights: str | Path, builder: str = "") -> list[str]:
    """Copy weights into `module`; a last layer of another shape stays as it is.

    Args:
        module: as built.
        weights: a file, or the name of weights that torchvision has for `builder`, see `find_weights`.
        builder: the builder's name.

    Returns:
        Names of the tensors that were left as they are.

    Raises:
        ModelError: the file is missing, damaged, no state dict, or does not fit; the path is in the message.
    """
    path = find_weights(weights, builder)
    state = module.state_dict()
    tensors = _under_common_prefix(_state_in(path), set(state))
    heads = [name for name, part in module.named_modules() if isinstance(part, nn.Linear | nn.Conv2d)][-1:]
    kept = [
        name
        for head in heads
        for name in (f"{head}.weight", f"{head}.bias")
        if name in state and (name not in tensors or tensors[name].shape != state[name].shape)
    ]
    merged = {**tensors, **{name: state[name].clone() for name in kept}}
    restore_state(module, merged, source=str(path), keep_types=True)
    return kept


def find_weights(weights: str | Path, builder: str = "") -> Path:
    """The file that holds the weights.

    Args:
        weights: a path; or, for a builder `torchvision:NAME`, weights by name, such as `DEFAULT`,
            `IMAGENET1K_V1` or `ResNet18_Weights.IMAGENET1K_V1`. These are looked for in torch's cache and
            downloaded where they are not there.
        builder: the builder's name.

    Raises:
        ModelError: no such file and no such name; or a download that fails: the message says which file to
            get from where, and where to put it.
    """
    path = Path(weights)
    known = _named(builder)
    if path.is_file():
        return path
    name = (
        str(weights).rpartition(".")[2] if str(weights).partition(".")[0] in _enum(builder) else str(weights)
    )
    if name in known:
        return _cached(known[name], f"{weights} of {builder}")
    hint = f"; torchvision has {', '.join(sorted(known))} for {builder}" if known else ""
    raise ModelError(f"{path}: there is no such file of weights{hint}")


def _named(builder: str) -> dict[str, str]:
    """Name and address of each set of weights that torchvision has for a builder."""
    if not builder.startswith(TORCHVISION):
        return {}
    members = tv_models.get_model_weights(builder.removeprefix(TORCHVISION)).__members__
    return {name: str(member.value.url) for name, member in members.items()}


def _enum(builder: str) -> set[str]:
    if not builder.startswith(TORCHVISION):
        return set()
    return {tv_models.get_model_weights(builder.removeprefix(TORCHVISION)).__name__}


def _cached(url: str, what: str) -> Path:
    """The file of an address in torch's cache; downloaded once, and checked by the hash in its name."""
    name = Path(urlsplit(url).path).name
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    found = re.search(r"-([a-f0-9]{8,})\.", name)
    prefix = found[1] if found else ""
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), hash_prefix=prefix or None, progress=False)
        except Exception as error:  # network, disk, proxy, wrong hash: the way out is the same
            reason = " ".join(str(error).split())
            raise ModelError(
                f"weights {what} cannot be downloaded ({reason}). Get {name} from {url} where there is a "
                f"network and put it into {path.parent}; or keep it anywhere and give its path as `weights`."
            ) from error
    if prefix:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if not digest.startswith(prefix):
            raise ModelError(
                f"{path}: damaged or cut off (its SHA-256 begins with {digest[:8]}, its name says {prefix}); "
                f"delete it and get it again from {url}"
            )
    return path


def _state_in(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return parse_safetensors(path.read_bytes(), source=str(path))
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen kinds for a file that it cannot or will not read
        raise ModelError(f"{path}: cannot be read as plain weights ({str(error).splitlines()[0]})") from error
    if isinstance(content, Mapping):
        content = next(
            (content[key] for key in _WRAPPED_IN if isinstance(content.get(key), Mapping)), content
        )
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ModelError(f"{path}: holds no state dict (names with tensors)")
    return {_DENSE.sub(r"\1\2", str(name)): value for name, value in content.items()}


def _under_common_prefix(tensors: dict[str, Tensor], wanted: set[str]) -> dict[str, Tensor]:
    """Take off what all names begin with, such as DataParallel's `module.`, where they fit better so."""
    best = tensors
    while len({name.partition(".")[0] for name in tensors}) == 1 and all("." in name for name in tensors):
        tensors = {name.partition(".")[2]: value for name, value in tensors.items()}
        if len(wanted & set(tensors)) > len(wanted & set(best)):
            best = tensors
    return best
