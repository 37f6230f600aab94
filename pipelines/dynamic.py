"""What ZenML's dynamic pipelines need to be told."""

from __future__ import annotations

from contextlib import AbstractContextManager

from camgate.registry.connection import defaults


def as_parameters() -> AbstractContextManager[None]:
    """Let plain values be parameters of steps, as in a static pipeline.

    ZenML 0.98 uploads each value that a dynamic pipeline hands to a step as an artifact of its own, unless
    this variable says up to how many bytes it is a parameter; negative is no limit. It is read at each call
    of a step (`zenml.execution.pipeline.dynamic.compilation`), so it works wherever the pipeline runs.
    """
    return defaults({"ZENML_PARAMETER_SIZE_THRESHOLD": "-1"})
