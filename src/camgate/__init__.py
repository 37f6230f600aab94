"""camgate: does a vision model decide on valid pixels? Heatmap audit and promotion gate."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from camgate._version import __version__

if TYPE_CHECKING:
    from camgate.audit.result import AuditResult
    from camgate.audit.runner import audit
    from camgate.data.manifest import validate_manifest
    from camgate.data.preprocessing import Preprocessing
    from camgate.data.sources import load_folder, load_manifest
    from camgate.data.zones import Zone, apply_zone
    from camgate.gate.judge import judge
    from camgate.gate.policy import Policy
    from camgate.gate.verdict import Verdict
    from camgate.models.classifier import Classifier

# Resolved on first use: importing camgate must not import torch, ZenML or MLflow.
_DOORS = {
    "AuditResult": "camgate.audit.result",
    "Classifier": "camgate.models.classifier",
    "Policy": "camgate.gate.policy",
    "Preprocessing": "camgate.data.preprocessing",
    "Verdict": "camgate.gate.verdict",
    "Zone": "camgate.data.zones",
    "apply_zone": "camgate.data.zones",
    "judge": "camgate.gate.judge",
    "load_folder": "camgate.data.sources",
    "load_manifest": "camgate.data.sources",
    "validate_manifest": "camgate.data.manifest",
}

__all__ = [
    "AuditResult",
    "Classifier",
    "Policy",
    "Preprocessing",
    "Verdict",
    "Zone",
    "__version__",
    "apply_zone",
    "audit",
    "judge",
    "load_folder",
    "load_manifest",
    "validate_manifest",
]


def __getattr__(name: str) -> Any:
    if name == "audit":  # the sub-package is itself callable, see camgate/audit/__init__.py
        return import_module("camgate.audit")
    if name not in _DOORS:
        raise AttributeError(f"module 'camgate' has no attribute {name!r}")
    return getattr(import_module(_DOORS[name]), name)


def __dir__() -> list[str]:
    return __all__
