"""Weights to start from: a local file, or torchvision's by name. No pickled code is run."""

from __future__ import annotations

import argparse
import hashlib
import re
import socket
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlparse

import torch
import torchvision.models as tv_models
from torch import Tensor, nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from camgate.errors import ModelError
from camgate.models.builders import TORCHVISION
from camgate.models.storage import parse_safetensors

TIMEOUT = 30.0
"""Seconds without an answer after which a download is given up."""

_NESTED = ("state_dict", "model_state_dict", "model")
"""Keys under which trainers keep the state dict in a checkpoint; the first that is there counts."""

_HASH = re.compile(r"-([0-9a-f]{8,64})\.")
_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")
_AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")
"""Side outputs of torchvision's inception_v3 and googlenet, which a net built with aux_logits=False lacks."""


def weights_file(weights: str | Path, builder: str) -> Path:
    """The local file that `weights` means; torchvision's are downloaded where they are not in torch's cache.

    Args:
        weights: path of a file; or, with builder ``torchvision:NAME``, the name of weights that torchvision
            offers for it, such as ``IMAGENET1K_V1``, ``DEFAULT`` or ``ResNet18_Weights.IMAGENET1K_V1``.
        builder: name of the builder.

    Raises:
        ModelError: there is no such file or name; the file in the cache is damaged; or it is not there and
            cannot be downloaded. The message then says which file to put where.
    """
    path = Path(str(weights))
    if isinstance(weights, Path) or path.is_file() or len(path.parts) > 1:
        return path
    if not builder.startswith(TORCHVISION):
        return path
    name = builder.removeprefix(TORCHVISION)
    known = tv_models.get_model_weights(name)
    family, _, member = str(weights).rpartition(".")
    if family in ("", known.__name__) and member in known.__members__:
        return _cached(known[member].url, called=f"weights `{member}` of {builder}")
    raise ModelError(
        f"{weights}: there is no such file of weights, and torchvision's for `{name}` are called "
        f"{', '.join(known.__members__)}"
    )


def _cached(url: str, *, called: str) -> Path:
    """The file of `url` in torch's cache, downloaded if it is absent, its hash checked in any case."""
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    name = PurePosixPath(urlparse(url).path).name
    path = folder / name
    match = _HASH.search(name)
    expected = match.group(1) if match else ""
    if not path.is_file():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with _timeout(TIMEOUT):
                torch.hub.download_url_to_file(url, str(path), expected or None, progress=False)
        except (OSError, RuntimeError) as error:  # RuntimeError: what came has another hash
            raise ModelError(
                f"{called} are not in torch's cache and cannot be downloaded ({error}): get the file {name} "
                f"from {url} on a machine that can, and put it into the folder {folder}; or keep it "
                f'anywhere and say weights="path/to/{name}"'
            ) from error
    found = file_sha256(path)
    if not found.startswith(expected):
        raise ModelError(
            f"{path}: is damaged or only half of the file ({path.stat().st_size:,} bytes): the SHA-256 of "
            f"{called} begins with {expected}, that of this file with {found[: len(expected)]}. Delete it "
            f"and put the file from {url} in its place"
        )
    return path


@contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    """torch.hub sets none: behind a firewall that drops packets it would hang for minutes."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def file_sha256(path: Path) -> str:
    """SHA-256 (hex) of a file.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error})") from error


def start_from(module: nn.Module, path: Path, *, head: nn.Module | None = None) -> list[str]:
    """Copy the weights in `path` into `module`; a last layer of another shape stays as it is.

    Names may carry a prefix that all share, as DataParallel's `module.`, Lightning's or torch.compile's, and
    may be those of older torchvision releases.

    Args:
        module: as built; half filled where this raises.
        path: safetensors (by suffix), else what `torch.load(weights_only=True)` reads: a state dict, or a
            checkpoint that holds one as `state_dict`, `model_state_dict` or `model`.
        head: the last layer; by default the `nn.Linear` or `nn.Conv2d` that was registered last.

    Returns:
        Names of the tensors that were left as they are.

    Raises:
        ModelError: the file is missing, damaged, no state dict, or does not fit; the path is in the message.
    """
    state = module.state_dict()
    tensors = _unprefixed(_state_in(path), set(state))
    for name in list(tensors):
        current = _DENSENET.sub(r"\1\2", name)
        if current != name:
            tensors[current] = tensors.pop(name)
        elif name.startswith(_AUXILIARY) and name not in state:
            del tensors[name]
    kept = [
        name
        for name in _head_tensors(module, head)
        if name not in tensors or tensors[name].shape != state[name].shape
    ]
    for name in kept:
        tensors[name] = state[name]
    _fill(module, tensors, source=str(path))
    return kept


def _head_tensors(module: nn.Module, head: nn.Module | None) -> list[str]:
    layers = [
        name
        for name, part in module.named_modules()
        if part is head or (head is None and isinstance(part, nn.Linear | nn.Conv2d))
    ]
    if not layers:
        return []
    own = module.get_submodule(layers[-1]).state_dict()
    return [f"{layers[-1]}.{name}".lstrip(".") for name in own]


def _fill(module: nn.Module, tensors: OrderedDict[str, Tensor], *, source: str) -> None:
    # Not `storage.restore_state`: modules translate old names and supply what old files lack while they load
    # (ViT's linear_1, MNASNet's stem, the counters of BatchNorm), so only the outcome can be compared.
    if not _versions(tensors):  # safetensors, or a plain dict; MNASNet refuses to load without its own
        tensors._metadata = {"": {"version": module._version}}  # type: ignore[attr-defined]
    try:
        missing, unexpected = module.load_state_dict(tensors, strict=False)
    except (RuntimeError, ValueError) as error:
        faults = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ModelError(f"{source}: does not fit the module; {'; '.join(faults[1:9] or faults)}") from error
    # The counters are read by a BatchNorm without momentum only; files from before PyTorch 0.4.1 have none.
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    faults = [
        f"{what}: {', '.join(names[:8])}{' ...' if len(names) > 8 else ''} ({len(names)})"
        for what, names in (("missing", sorted(missing)), ("unexpected", sorted(unexpected)))
        if names
    ]
    if faults:
        raise ModelError(f"{source}: does not fit the module; {'; '.join(faults)}")


def _unprefixed(tensors: OrderedDict[str, Tensor], names: set[str]) -> OrderedDict[str, Tensor]:
    """Without the prefixes that all names share, where more of `names` are met that way."""
    best = current = tensors
    while True:
        prefix, dot, _ = next(iter(current), "").partition(".")
        if not dot or not all(name.startswith(prefix + ".") for name in current):
            return best
        shorter = OrderedDict(current)
        shorter._metadata = dict(_versions(current))  # type: ignore[attr-defined]
        consume_prefix_in_state_dict_if_present(shorter, prefix + ".")
        current = shorter
        if len(names & set(current)) > len(names & set(best)):
            best = current


def _versions(tensors: OrderedDict[str, Tensor]) -> dict[str, Any]:
    """The versions of the modules' formats, which torch notes beside the tensors that it saves."""
    noted: dict[str, Any] = getattr(tensors, "_metadata", {})
    return noted


def _state_in(path: Path) -> OrderedDict[str, Tensor]:
    if not path.is_file():
        raise ModelError(f"{path}: there is no such file of weights")
    if path.suffix == ".safetensors":
        return OrderedDict(parse_safetensors(path.read_bytes(), source=str(path)))
    try:
        # Training scripts keep their options beside the weights; a Namespace is as harmless as a dict.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen kinds for a file that it cannot or will not read
        raise ModelError(
            f"{path}: cannot be read as plain weights ({str(error).splitlines()[0]}). It is damaged, or "
            "holds more than tensors: save the weights alone by torch.save(model.state_dict(), path)"
        ) from error
    nested = [content[key] for key in _NESTED if isinstance(content, Mapping) and key in content]
    content = next((part for part in nested if isinstance(part, Mapping)), content)
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ModelError(f"{path}: holds no state dict (names with tensors)")
    return content if isinstance(content, OrderedDict) else OrderedDict(content)
