"""A classifier as two files, ``model.safetensors`` and ``classifier.json``: nothing is pickled."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors import torch as safetensors_torch
from torch import Tensor, nn

from camgate.data.preprocessing import Preprocessing
from camgate.errors import ModelError
from camgate.models.checks import checked_classes
from camgate.models.heads import Head

WEIGHTS_FILE = "model.safetensors"
SPEC_FILE = "classifier.json"


class Spec(BaseModel):
    """What ``classifier.json`` holds. An unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    builder: str | None = Field(default=None, min_length=1)
    builder_args: dict[str, Any] = Field(default_factory=dict)
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    target_layer: str | None = None
    head: Head | None = None
    weights_sha256: str = Field(default="", description="SHA-256 of model.safetensors: both belong together")


def files_digest(files: Mapping[str, bytes]) -> str:
    """SHA-256 (hex) over the sorted (path, SHA-256) of `files`, one ``path NUL sha256 NEWLINE`` each."""
    lines = (f"{path}\0{hashlib.sha256(files[path]).hexdigest()}\n" for path in sorted(files))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def to_files(spec: Spec, module: nn.Module) -> dict[str, bytes]:
    """The bytes of both files: the same for the same values, whatever device and memory format they have.

    Raises:
        ModelError: something in the state cannot be stored, or `builder_args` is not JSON.
    """
    weights = safetensors_torch.save(_portable_state(module))
    values: dict[str, Any] = {
        "format": spec.format,
        "builder": spec.builder,
        "builder_args": spec.builder_args,
        "classes": list(spec.classes),
        "preprocessing": spec.preprocessing.model_dump(mode="json"),
        "target_layer": spec.target_layer,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    if spec.head is not None:  # left out where it is found by itself: the digest of such models stays
        values["head"] = spec.head
    try:
        text = json.dumps(values, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise ModelError(f"`builder_args` must be plain JSON values to be saved: {error}") from error
    return {WEIGHTS_FILE: weights, SPEC_FILE: (text + "\n").encode()}


def _portable_state(module: nn.Module) -> dict[str, Tensor]:
    """Every tensor of the state on the CPU, contiguous and in memory of its own.

    Tied weights are written once under each name: the file needs no note of who shares what, and loading into
    the tied module writes the same values twice.
    """
    state: Any = module.state_dict()
    odd = sorted(name for name, value in state.items() if not isinstance(value, Tensor))
    if odd:
        raise ModelError(f"the module keeps state that is no tensor, which cannot be saved: {', '.join(odd)}")
    unstorable = sorted(
        name
        for name, value in state.items()
        if value.is_meta or value.layout != torch.strided or value.is_quantized or value.is_complex()
    )
    if unstorable:
        raise ModelError(
            "the module holds tensors that cannot be saved (meta, sparse, quantized or complex): "
            + ", ".join(unstorable)
        )
    return {
        name: value.detach().to("cpu", copy=True).contiguous(memory_format=torch.contiguous_format)
        for name, value in state.items()
    }


def write_folder(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write `files` into `folder`: each under a temporary name first, renamed when all are complete.

    Raises:
        ModelError: the folder cannot be made or written; no temporary file is left behind.
    """
    made = not folder.exists()
    pending: list[tuple[Path, Path]] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            handle, scratch = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
            pending.append((Path(scratch), folder / name))
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
        for source, target in pending:
            source.chmod(0o644)  # mkstemp makes files that only their owner can read
            source.replace(target)
    except OSError as error:
        for source, _ in pending:
            source.unlink(missing_ok=True)
        if made and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
        raise ModelError(f"{folder}: the classifier could not be written ({error})") from error
    return folder


def read_folder(folder: Path) -> tuple[Spec, dict[str, Tensor], Path]:
    """Read and check both files.

    Returns:
        The spec, the tensors by name, and the path of the weights (for messages).

    Raises:
        ModelError: names the file that is missing, damaged, or does not belong to the other.
    """
    spec_path, weights_path = folder / SPEC_FILE, folder / WEIGHTS_FILE
    spec = _read_spec(spec_path)
    weights = _read_bytes(weights_path)
    if hashlib.sha256(weights).hexdigest() != spec.weights_sha256:
        raise ModelError(
            f"{weights_path}: its SHA-256 is not the one in {SPEC_FILE}: the file was truncated, changed or "
            "exchanged; save the classifier again"
        )
    return spec, parse_safetensors(weights, source=str(weights_path)), weights_path


def _read_spec(path: Path) -> Spec:
    try:
        values = json.loads(_read_bytes(path).decode())
    except (ValueError, RecursionError) as error:  # not UTF-8, or not JSON
        raise ModelError(f"{path}: is not valid JSON ({error}); save the classifier again") from error
    try:
        spec = Spec.model_validate(values)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or 'content'}: {fault['msg']}" for fault in error.errors()
        )
        raise ModelError(f"{path}: {faults}") from error
    if spec.builder is None:
        raise ModelError(f"{path}: names no `builder`, so the module cannot be rebuilt")
    try:
        checked_classes(spec.classes)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    return spec


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"{path}: cannot be read ({error.strerror or error}); a saved classifier is a folder with "
            f"{SPEC_FILE} and {WEIGHTS_FILE}"
        ) from error


def parse_safetensors(content: bytes, *, source: str) -> dict[str, Tensor]:
    """Tensors by name from the bytes of a safetensors file; ModelError naming `source` if they are none."""
    try:
        tensors: dict[str, Tensor] = safetensors_torch.load(content)
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ModelError(f"{source}: is not a complete safetensors file ({error})") from error
    return tensors


def restore_state(
    module: nn.Module, tensors: Mapping[str, Tensor], *, source: str, keep_types: bool = False
) -> None:
    """Copy `tensors` into `module`, strictly.

    Args:
        module: to be filled.
        tensors: by name, as in the module's `state_dict`.
        source: where they come from, for messages.
        keep_types: convert to the module's types; otherwise each tensor keeps the type it was saved with.

    Raises:
        ModelError: names missing and unexpected keys and other shapes; the module is then unchanged.
    """
    state: dict[str, Any] = module.state_dict()
    faults = [
        f"{what}: {', '.join(names[:8])}{' ...' if len(names) > 8 else ''} ({len(names)})"
        for what, names in (
            ("missing", sorted(set(state) - set(tensors))),
            ("unexpected", sorted(set(tensors) - set(state))),
        )
        if names
    ]
    faults += [
        f"shape of {name}: {tuple(tensors[name].shape)} in the file, {tuple(state[name].shape)} in the module"
        for name in sorted(set(state) & set(tensors))
        if tensors[name].shape != state[name].shape
    ]
    if faults:
        raise ModelError(f"{source}: does not fit the module; " + "; ".join(faults))
    # A builder makes float32; a half precision module has to compute in half precision again. Setting `.data`
    # rather than the parameter keeps tied weights tied.
    for name, tensor in () if keep_types else (*module.named_parameters(), *module.named_buffers()):
        if name in tensors and tensor.dtype != tensors[name].dtype:
            tensor.data = tensor.data.to(tensors[name].dtype)
    complete = OrderedDict(tensors)
    # The version of each part, without which some networks (MNASNet) take the tensors for older ones.
    complete._metadata = state._metadata  # type: ignore[attr-defined]
    module.load_state_dict(complete, strict=True)
