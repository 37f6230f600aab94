"""camgate: does a vision model decide on valid pixels? Heatmap audit and promotion gate."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from camgate._version import __version__

if TYPE_CHECKING:
    from camgate.audit.result import AuditResult
    from camgate.audit.runner import audit
    from camgate.data.camera import CameraRule, camera_regions
    from camgate.data.formats.coco import load_coco
    from camgate.data.formats.huggingface import from_huggingface
    from camgate.data.formats.torchvision import from_torchvision
    from camgate.data.formats.voc import load_voc
    from camgate.data.formats.yolo import load_yolo
    from camgate.data.manifest import validate_manifest
    from camgate.data.preprocessing import Preprocessing
    from camgate.data.reading import read_data
    from camgate.data.regions import RegionRule, apply_region_rule
    from camgate.data.sources import load_folder, load_manifest
    from camgate.data.zones import Zone, apply_zone
    from camgate.gate.judge import judge
    from camgate.gate.policy import Policy
    from camgate.gate.verdict import Verdict
    from camgate.models.classifier import Classifier

# Resolved on first use: importing camgate must not import torch, ZenML or MLflow.
_DOORS = {
    "AuditResult": "camgate.audit.result",
    "CameraRule": "camgate.data.camera",
    "Classifier": "camgate.models.classifier",
    "DrillResult": "camgate.gate.drilled",
    "NoRival": "camgate.gate.measure",
    "Policy": "camgate.gate.policy",
    "Preprocessing": "camgate.data.preprocessing",
    "Promotion": "camgate.registry.promotion",
    "RegionRule": "camgate.data.regions",
    "Verdict": "camgate.gate.verdict",
    "Verification": "camgate.registry.verify",
    "Zone": "camgate.data.zones",
    "alias_history": "camgate.registry.history",
    "apply_region_rule": "camgate.data.regions",
    "apply_zone": "camgate.data.zones",
    "attest": "camgate.registry.attestation",
    "camera_regions": "camgate.data.camera",
    "from_huggingface": "camgate.data.formats.huggingface",
    "from_torchvision": "camgate.data.formats.torchvision",
    "judge": "camgate.gate.judge",
    "load_coco": "camgate.data.formats.coco",
    "load_folder": "camgate.data.sources",
    "load_manifest": "camgate.data.sources",
    "load_voc": "camgate.data.formats.voc",
    "load_yolo": "camgate.data.formats.yolo",
    "pin_policy": "camgate.registry.pinning",
    "promote_copy": "camgate.registry.promotion",
    "read_data": "camgate.data.reading",
    "register_and_promote": "camgate.registry.promotion",
    "run_drill": "camgate.drill.runner",
    "validate_manifest": "camgate.data.manifest",
    "verify": "camgate.registry.verify",
    "verify_all": "camgate.registry.verify",
    "waive": "camgate.registry.waiving",
}

__all__ = [
    "AuditResult",
    "CameraRule",
    "Classifier",
    "DrillResult",
    "NoRival",
    "Policy",
    "Preprocessing",
    "Promotion",
    "RegionRule",
    "Verdict",
    "Verification",
    "Zone",
    "__version__",
    "alias_history",
    "apply_region_rule",
    "apply_zone",
    "attest",
    "audit",
    "camera_regions",
    "from_huggingface",
    "from_torchvision",
    "judge",
    "load_coco",
    "load_folder",
    "load_manifest",
    "load_voc",
    "load_yolo",
    "pin_policy",
    "promote_copy",
    "read_data",
    "register_and_promote",
    "run_drill",
    "validate_manifest",
    "verify",
    "verify_all",
    "waive",
]


def __getattr__(name: str) -> Any:
    if name == "audit":  # the sub-package is itself callable, see camgate/audit/__init__.py
        return import_module("camgate.audit")
    if name not in _DOORS:
        raise AttributeError(f"module 'camgate' has no attribute {name!r}")
    return getattr(import_module(_DOORS[name]), name)


def __dir__() -> list[str]:
    return __all__
