"""The pipeline `heatmap_gate`."""

from camgate.kubeflow.pipelines.heatmap_gate.pipeline import heatmap_gate

__all__ = ["heatmap_gate"]
