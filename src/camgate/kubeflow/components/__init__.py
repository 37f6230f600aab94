"""The components, each in the form of the Kubeflow component hub."""
