"""What ZenML's cache cannot see by itself: the files behind a path."""

from __future__ import annotations

import hashlib
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any
from uuid import uuid4

from camgate.data.manifest import data_digest
from camgate.data.reading import DataOptions, read_data
from camgate.materializers.sources import pin
from camgate.models.weights import file_sha256

_log = logging.getLogger(__name__)


@pin
def data_fingerprint() -> str:
    """The part of `load_data`'s cache key that changes when a row or a file of the data does.

    ZenML calls this with no argument, so the step's parameters are taken from the caller
    (`generate_cache_key` in zenml.orchestrators.cache_utils, which has them as `step`). Where that fails,
    or the data cannot be read, the answer is new every time: the step runs, and says what is wrong.
    """
    parameters = _parameters_of(sys._getframe(1))
    if parameters is None or "data" not in parameters:
        _log.warning("ZenML's cache no longer shows the step's parameters: load_data is not cached.")
        return uuid4().hex
    return _fingerprint(parameters)


@pin
def weights_fingerprint() -> str:
    """The part of `train_model`'s cache key that changes when the file of its `weights` does.

    As in `data_fingerprint`, the answer is new every time where the parameters cannot be seen.
    """
    parameters = _parameters_of(sys._getframe(1))
    if parameters is None:
        _log.warning("ZenML's cache no longer shows the step's parameters: train_model is not cached.")
        return uuid4().hex
    weights = parameters.get("weights")
    if weights is None or not Path(weights).is_file():  # a name of torchvision's stands for one file
        return ""
    return file_sha256(Path(weights))


def _parameters_of(frame: FrameType) -> Mapping[str, Any] | None:
    step = frame.f_locals.get("step")
    parameters = getattr(getattr(step, "config", None), "parameters", None)
    return parameters if isinstance(parameters, Mapping) else None


def _fingerprint(parameters: Mapping[str, Any]) -> str:
    try:
        options = DataOptions.read(parameters.get("options"))
        # Regions from a camera follow from the images and the options: deriving them here would do it twice.
        manifest = read_data(parameters["data"], options.model_copy(update={"camera": None}))
        table = hashlib.sha256(manifest.to_csv(index=False).encode()).hexdigest()
        return f"{data_digest(manifest)}:{table}:{options.model_dump_json()}"
    except Exception:  # the step itself meets the same fault and reports it properly
        return uuid4().hex
