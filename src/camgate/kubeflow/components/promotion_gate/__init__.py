"""The component `promotion_gate`."""

from camgate.kubeflow.components.promotion_gate.component import promotion_gate

__all__ = ["promotion_gate"]
