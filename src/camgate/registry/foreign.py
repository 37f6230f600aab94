"""PyTorch models that others logged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from camgate.data.preprocessing import Preprocessing
from camgate.errors import ModelError
from camgate.models.classifier import Classifier
from camgate.registry.digest import MLMODEL, read_mlmodel


def foreign_classifier(
    folder: Path,
    *,
    classes: Sequence[str] | None,
    preprocessing: Preprocessing | None,
    allow_pickle: bool,
) -> Classifier:
    """A classifier from the files of a model that `mlflow.pytorch.log_model` logged with pickle.

    Raises:
        ModelError: another kind of model, or something that the caller has to say is missing.
    """
    flavors = read_mlmodel(folder / MLMODEL).get("flavors") or {}
    if "pytorch" not in flavors:
        raise ModelError(
            f"was not logged by camgate, and is no PyTorch model either (flavors: {', '.join(flavors)}); log "
            "it with camgate.registry.flavor.log_classifier"
        )
    missing = [
        name
        for name, absent in (
            ("classes=[...]", classes is None),
            ("preprocessing=Preprocessing(...)", preprocessing is None),
            ("allow_pickle=True (it runs whatever code the file holds)", not allow_pickle),
        )
        if absent
    ]
    if missing or classes is None or preprocessing is None:
        raise ModelError(
            "was logged by mlflow.pytorch, which keeps neither classes nor preprocessing; also give "
            + ", ".join(missing)
        )
    module = _unpickled(folder)
    return Classifier(module.eval(), classes, preprocessing)


def _unpickled(folder: Path) -> Any:
    import mlflow.pytorch
    import torch

    try:
        module = mlflow.pytorch.load_model(str(folder), map_location="cpu")
    except Exception as error:  # unpickling runs foreign code: anything may come out of it
        text = " ".join(str(error).split())
        raise ModelError(f"cannot be unpickled: {type(error).__name__}: {text}") from error
    if isinstance(module, torch.fx.GraphModule) or not isinstance(module, torch.nn.Module):
        raise ModelError(
            f"was logged as an exported graph ({type(module).__name__}), into which no heatmap can look: log "
            'it again with serialization_format="pickle", or with camgate.registry.flavor.log_classifier'
        )
    return module
