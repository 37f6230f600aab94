"""Under which name ZenML stores our code."""

from __future__ import annotations

from typing import TypeVar

from zenml.config.source import Source, SourceType
from zenml.utils.source_utils import ZENML_SOURCE_ATTRIBUTE_NAME, is_distribution_package_file

T = TypeVar("T")


def pin(thing: T) -> T:
    """Make ZenML store a class or function of ours under its import path, `camgate.…`.

    ZenML names a module below its source root by its *path* relative to that root. From a checkout whose
    root is the source root (a script there, `zenml init`, `zenml pipeline run`), our steps would become
    `steps.audit` and our types `src.camgate.…`: modules are then loaded twice, and artifacts cannot be
    loaded anywhere else. An installed wheel is named rightly by ZenML itself, version included.

    Args:
        thing: class or function at the top of its module. Subclasses inherit the name, so that an artifact
            of a subclass is loaded as the base class.

    Returns:
        The same object.
    """
    if not is_distribution_package_file(__file__, __name__):
        source = Source(
            module=thing.__module__,
            attribute=thing.__qualname__,  # type: ignore[attr-defined]
            type=SourceType.UNKNOWN,
        )
        setattr(thing, ZENML_SOURCE_ATTRIBUTE_NAME, source)
    return thing
