"""What a model file alone does not say, as a JSON file: the facts that make a network a `Classifier`."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from camgate.data.preprocessing import Preprocessing
from camgate.errors import ModelError
from camgate.models.builders import build
from camgate.models.classifier import Classifier
from camgate.models.heads import Head
from camgate.models.weights import start_from

WEIGHT_SUFFIXES = frozenset({".safetensors", ".pt", ".pth", ".ckpt"})


class ModelSpec(BaseModel):
    """Facts about a network that somebody else logged or saved; see `Classifier` for each.

    Attributes:
        classes: names of the outputs, in order.
        preprocessing: how images become the network's input.
        target_layer: layer to be audited.
        head: what the outputs are.
        builder: how the network is made, for a file of weights alone.
        builder_args: its arguments.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    classes: tuple[str, ...] | None = None
    preprocessing: Preprocessing | None = None
    target_layer: str | None = None
    head: Head | None = None
    builder: str | None = None
    builder_args: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def read(cls, source: str | Path | Mapping[str, Any]) -> ModelSpec:
        """Read a JSON file, or take a mapping.

        Raises:
            ModelError: names the file and each key that is wrong.
        """
        if isinstance(source, Mapping):
            return cls._validated(dict(source), "spec")
        file = Path(source)
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise ModelError(
                f"{file}: the model's spec cannot be read ({error.strerror or error})"
            ) from error
        except (ValueError, RecursionError) as error:  # not UTF-8, or not JSON
            raise ModelError(f"{file}: is not valid JSON ({error})") from error
        return cls._validated(values, str(file))

    @classmethod
    def _validated(cls, values: Any, source: str) -> ModelSpec:
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ModelError(f"{source}: " + "; ".join(map(_fault, error.errors()))) from error


def load_weights(path: str | Path, spec: ModelSpec, *, allow_code: bool = False) -> Classifier:
    """A classifier from a file of weights and the spec of its network.

    Args:
        path: safetensors, or a state dict saved by torch, which is read without running pickled code.
        spec: with `classes`, `preprocessing` and `builder`.
        allow_code: also when the builder is an import path, whose code then runs.

    Returns:
        The classifier on the CPU, in evaluation mode.

    Raises:
        ModelError: the spec lacks something, or the weights do not fit; every layer must be in the file.
    """
    if spec.builder is None or spec.classes is None or spec.preprocessing is None:
        missing = [name for name in ("builder", "classes", "preprocessing") if getattr(spec, name) is None]
        raise ModelError(f"{path}: holds weights alone; the spec must also give {', '.join(missing)}")
    outputs = 1 if spec.head in ("sigmoid", "sigmoid_probability") else len(spec.classes)
    with torch.random.fork_rng(devices=[]):
        module = build(spec.builder, spec.builder_args, outputs, allow_code=allow_code)
    fresh = start_from(module, Path(path))
    if fresh:
        raise ModelError(
            f"{path}: does not fit {outputs} outputs ({', '.join(fresh)}); are these the model's `classes`?"
        )
    return Classifier(
        module.eval(),
        spec.classes,
        spec.preprocessing,
        target_layer=spec.target_layer,
        head=spec.head,
        builder=spec.builder,
        builder_args=spec.builder_args,
    )


def _fault(fault: Any) -> str:
    key = ".".join(map(str, fault["loc"])) or "content"
    if fault["type"] != "extra_forbidden":
        return f"{key}: {fault['msg'].removeprefix('Value error, ')}"
    known = Preprocessing.model_fields if len(fault["loc"]) > 1 else ModelSpec.model_fields
    near = difflib.get_close_matches(str(fault["loc"][-1]), known, n=1)
    return f"{key}: no such key" + (f"; did you mean {near[0]}?" if near else f"; known: {', '.join(known)}")
