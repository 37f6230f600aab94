"""Manifests, images, regions: everything up to the tensors a model takes."""
