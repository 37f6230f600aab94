"""Kubeflow Pipelines v2: components and a pipeline on the same core. KFP is imported here only."""

from __future__ import annotations

from importlib import import_module
from typing import Any

# Resolved on first use: a component's code imports camgate, and not all of this.
COMPONENTS = (
    "open_audit",
    "heatmap_audit",
    "merge_audits",
    "promotion_gate",
    "promote_model",
    "enforce_verdict",
)
_DOORS = {name: f"camgate.kubeflow.components.{name}" for name in COMPONENTS} | {
    "heatmap_gate": "camgate.kubeflow.pipelines.heatmap_gate",
    "run_locally": "camgate.kubeflow.running",
    "with_image": "camgate.kubeflow.compiling",
    "write_yaml": "camgate.kubeflow.compiling",
}


def __getattr__(name: str) -> Any:
    if name not in _DOORS:
        raise AttributeError(f"module 'camgate.kubeflow' has no attribute {name!r}")
    try:
        return getattr(import_module(_DOORS[name]), name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "kfp":
            raise
        raise ModuleNotFoundError(
            f"camgate.kubeflow.{name} needs kfp: pip install 'camgate[kubeflow]'", name="kfp"
        ) from error


def __dir__() -> list[str]:
    return sorted(_DOORS)
