"""The component `merge_audits`."""

from camgate.kubeflow.components.merge_audits.component import merge_audits

__all__ = ["merge_audits"]
