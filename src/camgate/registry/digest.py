"""The digest of a logged model: one number over every file that decides what it does."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import yaml

from camgate.errors import ModelError

MLMODEL = "MLmodel"
# MLflow writes it beside the model when a registered version is downloaded: name and version, nothing else.
_ADDED_BY_DOWNLOAD = "registered_model_meta"


def folder_digest(folder: str | Path) -> str:
    """SHA-256 (hex) over the sorted (path, SHA-256) of every file of a logged model.

    ``MLmodel`` counts by its flavors and its signature only: it also holds the run, the time and the place.
    Every other file counts by its bytes, bytecode caches included, for Python would run them instead of the
    source beside them.

    Args:
        folder: the model's files, with ``MLmodel`` at the top.

    Raises:
        ModelError: no logged model, or an ``MLmodel`` that cannot be read.
    """
    root = Path(folder)
    if not (root / MLMODEL).is_file():
        raise ModelError(f"{root}: is not a logged model, it has no {MLMODEL} file")
    lines = []
    for path in _files(root):
        content = _reduced(root / path) if path == MLMODEL else None
        digest = hashlib.sha256(content).hexdigest() if content is not None else _file_sha256(root / path)
        lines.append(f"{path}\0{digest}\n")
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def _files(root: Path) -> list[str]:
    """Relative POSIX paths of all files, those behind symbolic links included."""
    found = [
        (Path(here) / name).relative_to(root).as_posix()
        for here, _, names in os.walk(root, followlinks=True)
        for name in names
    ]
    return [path for path in found if path != _ADDED_BY_DOWNLOAD]


def _reduced(path: Path) -> bytes:
    values = read_mlmodel(path)
    kept = {"flavors": values.get("flavors"), "signature": values.get("signature")}
    return json.dumps(kept, sort_keys=True, separators=(",", ":"), default=str).encode()


def read_mlmodel(path: Path) -> dict[str, Any]:
    """The content of an ``MLmodel`` file.

    Raises:
        ModelError: it is missing or no YAML mapping.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ModelError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error
    if not isinstance(values, dict):
        raise ModelError(f"{path}: is not a mapping")
    return values


def _file_sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
