"""The component `heatmap_audit`."""

from camgate.kubeflow.components.heatmap_audit.component import heatmap_audit

__all__ = ["heatmap_audit"]
