"""PyTorch models that others logged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from camgate.errors import ModelError
from camgate.models.classifier import Classifier
from camgate.models.spec import ModelSpec
from camgate.registry.digest import MLMODEL, read_mlmodel

_WAYS_OUT = {
    "transformers": "hand over the network in it: Classifier(mlflow.transformers.load_model(uri).model, ...)",
    "onnx": "an ONNX graph has no layers to look into; audit the network that it was exported from",
    "tensorflow": "camgate looks into PyTorch networks only",
    "keras": "camgate looks into PyTorch networks only",
}
_LOG_IT = "log the network with camgate.registry.flavor.log_classifier, or with mlflow.pytorch as pickle"


def foreign_classifier(folder: Path, spec: ModelSpec, *, allow_pickle: bool) -> Classifier:
    """A classifier from the files of a model that `mlflow.pytorch.log_model` logged with pickle.

    Args:
        folder: the model's files.
        spec: what MLflow keeps not: classes and preprocessing. The classes may be left out where the network
            itself names them, as Hugging Face's do.
        allow_pickle: it runs whatever code the file holds.

    Raises:
        ModelError: another kind of model, or something that the caller has to say is missing.
    """
    flavors: Mapping[str, Any] = read_mlmodel(folder / MLMODEL).get("flavors") or {}
    if "pytorch" not in flavors:
        way = next((_WAYS_OUT[name] for name in flavors if name in _WAYS_OUT), _LOG_IT)
        raise ModelError(
            f"was not logged by camgate, and is no PyTorch model either (flavors: {', '.join(flavors)}); "
            f"{way}"
        )
    exported = next((folder / (flavors["pytorch"].get("model_data") or "data")).rglob("*.pt2"), None)
    if exported is not None:
        raise ModelError(
            f"was logged as an exported program ({exported.name}, the default of mlflow.pytorch): forward "
            "hooks do not fire in its graph and its image size is frozen, so no heatmap can look into it; "
            'log it again with serialization_format="pickle", or with camgate.registry.flavor.log_classifier'
        )
    missing = [] if allow_pickle else ["allow_pickle=True (it runs whatever code the file holds)"]
    if spec.preprocessing is None:
        missing.insert(0, "preprocessing=Preprocessing(...)")
    if spec.classes is None and not allow_pickle:
        missing.insert(0, "classes=[...]")
    module = None if missing else _unpickled(folder)
    classes = spec.classes or (None if module is None else _own_classes(module))
    if classes is None and not missing:
        missing.append("classes=[...]")
    if missing or module is None or classes is None or spec.preprocessing is None:
        raise ModelError(
            "was logged by mlflow.pytorch, which keeps neither classes nor preprocessing; also give "
            + ", ".join(missing)
        )
    return Classifier(
        module.eval(),
        classes,
        spec.preprocessing,
        target_layer=spec.target_layer,
        head=spec.head,
        builder=spec.builder,
        builder_args=spec.builder_args,
    )


def _own_classes(module: Any) -> tuple[str, ...] | None:
    """The names in a Hugging Face config, unless they are its placeholders."""
    labels = getattr(getattr(module, "config", None), "id2label", None)
    if not isinstance(labels, Mapping) or set(labels) != set(range(len(labels))):
        return None
    names = tuple(str(labels[number]) for number in range(len(labels)))
    return None if all(name == f"LABEL_{number}" for number, name in enumerate(names)) else names


def _unpickled(folder: Path) -> Any:
    import mlflow.pytorch

    from camgate.models.checks import checked_module

    try:
        module = mlflow.pytorch.load_model(str(folder), map_location="cpu")
    except Exception as error:  # unpickling runs foreign code: anything may come out of it
        text = " ".join(str(error).split())
        raise ModelError(f"cannot be unpickled: {type(error).__name__}: {text}") from error
    try:
        return checked_module(module)
    except TypeError as error:
        raise ModelError(f"holds a {type(module).__name__}, which is no torch.nn.Module") from error
