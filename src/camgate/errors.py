"""The errors camgate raises on purpose.

Every message is one readable paragraph: what was wrong, where (file, row, column, key), what to do.
"""

from __future__ import annotations

from collections.abc import Sequence


def some_of(names: Sequence[object], shown: int = 8) -> str:
    """The first names, and how many more there are: a message stays readable with a thousand classes."""
    listed = ", ".join(str(name) for name in list(names)[:shown])
    return listed if len(names) <= shown else f"{listed} and {len(names) - shown} more"


class CamgateError(Exception):
    """Base class: the message is fit to be shown to a user without a traceback."""


class InputError(CamgateError, ValueError):
    """Something the caller handed in cannot be used (exit code 2)."""


class ManifestError(InputError):
    """A manifest with faults, all of them collected before raising.

    Attributes:
        faults: one line each, naming row and column.
    """

    def __init__(self, source: str, faults: Sequence[str], shown: int = 20) -> None:
        self.source = source
        # A fault may quote what is no valid Unicode, and must be printable all the same.
        self.faults = [fault.encode("utf-8", "backslashreplace").decode() for fault in faults]
        lines = [f"  - {fault}" for fault in self.faults[:shown]]
        if len(self.faults) > shown:
            lines.append(f"  - ... and {len(self.faults) - shown} more")
        super().__init__(f"{source}: {len(self.faults)} fault(s) in the manifest\n" + "\n".join(lines))

    def __reduce__(self) -> tuple[type[ManifestError], tuple[str, list[str]]]:
        return type(self), (self.source, self.faults)


class ModelError(InputError):
    """A model that cannot be built, loaded or audited."""


class PolicyError(InputError):
    """A policy that cannot be read or does not make sense."""


class RegistryError(CamgateError):
    """The MLflow server or its registry refused, failed or cannot be reached."""


class PromotionBlocked(CamgateError):  # noqa: N818 (an outcome, not a malfunction)
    """Raised last, after all evidence is kept: not PASS, and the policy says `on_block: fail`."""
