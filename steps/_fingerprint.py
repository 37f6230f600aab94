"""What ZenML's cache cannot see by itself: the data behind a path."""

from __future__ import annotations

import hashlib
import logging
import sys
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from camgate.data.manifest import data_digest
from camgate.data.reading import DataOptions, read_data
from camgate.materializers.sources import pin

_log = logging.getLogger(__name__)


@pin
def data_fingerprint() -> str:
    """The part of `load_data`'s cache key that changes when a row or a file of the data does.

    ZenML calls this with no argument, so the step's parameters are taken from the caller
    (`generate_cache_key` in zenml.orchestrators.cache_utils, which has them as `step`). Where that fails,
    or the data cannot be read, the answer is new every time: the step runs, and says what is wrong.
    """
    step = sys._getframe(1).f_locals.get("step")
    parameters = getattr(getattr(step, "config", None), "parameters", None)
    if not isinstance(parameters, Mapping) or "data" not in parameters:
        _log.warning("ZenML's cache no longer shows the step's parameters: load_data is not cached.")
        return uuid4().hex
    return _fingerprint(parameters)


def _fingerprint(parameters: Mapping[str, Any]) -> str:
    try:
        options = DataOptions.read(parameters.get("options"))
        # Regions from a camera follow from the images and the options: deriving them here would do it twice.
        manifest = read_data(parameters["data"], options.model_copy(update={"camera": None}))
        table = hashlib.sha256(manifest.to_csv(index=False).encode()).hexdigest()
        return f"{data_digest(manifest)}:{table}:{options.model_dump_json()}"
    except Exception:  # the step itself meets the same fault and reports it properly
        return uuid4().hex
