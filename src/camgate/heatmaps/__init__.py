"""Explainers, target layers and overlays."""
