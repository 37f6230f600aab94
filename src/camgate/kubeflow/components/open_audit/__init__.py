"""The component `open_audit`."""

from camgate.kubeflow.components.open_audit.component import open_audit

__all__ = ["open_audit"]
