"""Whatever a pipeline hands over as a model, as a `Classifier`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from camgate.data.preprocessing import Preprocessing
from camgate.errors import InputError
from camgate.models.classifier import Classifier
from camgate.models.spec import ModelSpec
from camgate.registry.flavor import resolve_model


def as_classifier(
    model: Classifier | nn.Module | None,
    *,
    source: str | None = None,
    classes: Sequence[str] | None = None,
    preprocessing: Preprocessing | None = None,
    builder: str | None = None,
    builder_args: Mapping[str, Any] | None = None,
    allow_code: bool = False,
    allow_pickle: bool = False,
    tracking_uri: str | None = None,
) -> Classifier:
    """One classifier from a classifier, a plain module, a folder, a file of weights or an MLflow URI.

    Raises:
        InputError: both or neither of `model` and `source`, or a plain module without its facts.
    """
    if (model is None) == (source is None):
        raise InputError("give either `model` (from another step) or `source` (a folder or an MLflow URI)")
    if isinstance(model, Classifier):
        return model
    if model is not None:
        if classes is None or preprocessing is None:
            raise InputError(
                f"the model is a plain {type(model).__name__}: give `classes`, the names of its outputs in "
                "order, and `preprocessing`, how images become its input"
            )
        return Classifier(
            model,
            classes,
            preprocessing,
            builder=builder,
            builder_args=builder_args,
        )
    assert source is not None  # noqa: S101  (checked above; for the type checker)
    facts = ModelSpec(
        classes=None if classes is None else tuple(classes),
        preprocessing=preprocessing,
        builder=builder,
        builder_args=dict(builder_args or {}),
    )
    return resolve_model(
        source,
        spec=facts,
        allow_pickle=allow_pickle,
        allow_code=allow_code,
        tracking_uri=tracking_uri,
    )
