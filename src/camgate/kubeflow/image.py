"""The image that components run in."""

from __future__ import annotations

from camgate._version import __version__

DEFAULT_IMAGE = f"camgate:{__version__}"
"""Holds camgate with its extra `kubeflow`. `camgate.kubeflow.compiling` puts another one in its place."""
