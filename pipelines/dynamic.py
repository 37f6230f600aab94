"""What ZenML's dynamic pipelines need."""

from __future__ import annotations

from types import FunctionType
from typing import Any, cast

from camgate.materializers.sources import pin

ENVIRONMENT = {"ZENML_PARAMETER_SIZE_THRESHOLD": "-1"}
"""Plain values are parameters of steps, as in a static pipeline, whatever their size.

Otherwise ZenML 0.98 saves each argument of each step of a dynamic pipeline as an artifact of its own, and
`load_data` cannot tell from its parameters whether the data have changed. It is read at each call of a step
(`zenml.execution.pipeline.dynamic.compilation`), wherever the pipeline runs.
"""


def twin(function: Any, name: str) -> Any:
    """A copy of a function under another name in the same module: the same body for a second pipeline.

    ZenML finds a dynamic pipeline again by the name of its function, which must hold that pipeline.
    """
    original = cast(FunctionType, function)
    copy = FunctionType(original.__code__, original.__globals__, name, original.__defaults__)
    copy.__kwdefaults__ = original.__kwdefaults__
    copy.__annotations__ = dict(original.__annotations__)
    copy.__doc__, copy.__module__, copy.__qualname__ = original.__doc__, original.__module__, name
    return pin(copy)
