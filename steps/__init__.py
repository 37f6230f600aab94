"""ZenML steps."""
