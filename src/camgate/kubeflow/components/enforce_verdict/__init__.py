"""The component `enforce_verdict`."""

from camgate.kubeflow.components.enforce_verdict.component import enforce_verdict

__all__ = ["enforce_verdict"]
