"""The pipelines, each in the form of the Kubeflow component hub."""
