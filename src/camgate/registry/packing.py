"""The files of a logged model, complete before anything is uploaded."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import mlflow.pyfunc
from mlflow.models import Model, ModelSignature
from mlflow.types.schema import ColSpec, DataType, Schema, TensorSpec

import camgate
from camgate.errors import ModelError
from camgate.models.builders import BUILDERS, requirements_of
from camgate.models.classifier import Classifier
from camgate.models.storage import SPEC_FILE, WEIGHTS_FILE
from camgate.registry import __path__ as _here
from camgate.registry.connection import defaults
from camgate.registry.digest import MLMODEL

ARTIFACTS = "artifacts"
ENTRY = "serving.py"
SHIPPED = ("__init__.py", "_version.py", "errors.py", "files.py", "storage.py", "data", "models")
"""Parts of the package that predicting needs; nothing that audits, gates or promotes."""

REQUIREMENTS = (
    "fsspec",
    "mlflow",
    "numpy",
    "pandas",
    "pillow",
    "pydantic",
    "safetensors",
    "torch",
    "torchvision",
)

_NO_BYTECODE = (
    "A file in place of this folder keeps Python from storing bytecode here: the digest of a logged model "
    "covers every file, and Python would run the bytecode instead of the source.\n"
)


def pack_classifier(
    classifier: Classifier,
    spec_folder: Path,
    target: Path,
    *,
    logged: Any,
    code_paths: Sequence[str | Path] = (),
    requirements: Sequence[str] = (),
) -> Path:
    """Write the folder of an MLflow model.

    Args:
        classifier: what is logged.
        spec_folder: where it was saved.
        target: must not exist.
        logged: the LoggedModel entity that will hold the files.
        code_paths: the builder's own code.
        requirements: further packages.

    Raises:
        ModelError: a builder that exists in this process only.
    """
    _check_builder(classifier)
    code = _copy_of_camgate(target.with_name("code") / "camgate")
    model = Model(
        artifact_path=logged.artifact_location,
        run_id=logged.source_run_id,
        model_uuid=logged.model_id,
        model_id=logged.model_id,
    )
    # Without the setting MLflow copies a uv.lock that happens to lie in the working folder into the model.
    with defaults({"MLFLOW_UV_AUTO_DETECT": "false"}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about type hints and pandas 3, nothing a caller could act on
        mlflow.pyfunc.save_model(
            str(target),
            python_model=str(Path(_here[0]) / ENTRY),
            artifacts={"weights": str(spec_folder / WEIGHTS_FILE), "spec": str(spec_folder / SPEC_FILE)},
            code_paths=[str(code), *map(str, code_paths)],
            pip_requirements=[*_pinned(classifier.builder), *requirements],
            signature=_signature(classifier),
            mlflow_model=model,
        )
    _forget_origins(model)
    model.save(str(target / MLMODEL))
    _without_bytecode(target)
    return target


def _check_builder(classifier: Classifier) -> None:
    own = BUILDERS.get(classifier.builder or "")
    if own is not None and not own.__module__.startswith("camgate."):
        raise ModelError(
            f"builder `{classifier.builder}` is registered in this process only, by {own.__module__}: give "
            f'the classifier builder="{own.__module__}:{own.__qualname__}" instead, and its code by '
            "`code_paths`"
        )


def _copy_of_camgate(target: Path) -> Path:
    package = Path(camgate.__file__).parent
    target.mkdir(parents=True)
    for name in SHIPPED:
        source = package / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=_all_but_python)
        else:
            shutil.copy(source, target / name)
    return target


def _all_but_python(folder: str, names: list[str]) -> set[str]:
    return {
        name
        for name in names
        if name == "__pycache__" or not (name.endswith(".py") or (Path(folder) / name).is_dir())
    }


def _pinned(builder: str | None) -> list[str]:
    # A local part such as `+cpu` names a build that the package index does not have.
    return [
        f"{name}=={metadata.version(name).partition('+')[0]}"
        for name in (*REQUIREMENTS, *requirements_of(builder))
    ]


def _signature(classifier: Classifier) -> ModelSignature:
    """Of the outputs only: a schema of the inputs would forbid one of the two kinds of input."""
    # Names as in `serving.py`, which cannot be imported: that would make it MLflow's current model.
    columns: list[ColSpec | TensorSpec] = [ColSpec(DataType.string, "predicted")]
    columns += [
        ColSpec(DataType.float, f"{name} (class)" if name == "predicted" else name)
        for name in classifier.classes
    ]
    return ModelSignature(outputs=Schema(columns))


def _forget_origins(model: Model) -> None:
    """Drop the paths of the machine that logged: they tell nobody anything and differ each time."""
    flavor = model.flavors["python_function"]
    flavor["model_code_path"] = ENTRY
    for artifact in flavor["artifacts"].values():
        artifact["uri"] = artifact["path"]


def _without_bytecode(folder: Path) -> None:
    """Put a file where Python would make each ``__pycache__`` folder.

    With a local store MLflow loads the model's code from the store itself, and Python would write there.
    """
    for cache in list(folder.rglob("__pycache__")):
        if cache.is_dir():
            shutil.rmtree(cache)
    for place in sorted({path.parent for path in folder.rglob("*.py")}):
        (place / "__pycache__").write_text(_NO_BYTECODE, encoding="utf-8")
