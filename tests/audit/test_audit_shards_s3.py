"""Shards by URL in an object store: a real HTTP server that speaks S3."""

from __future__ import annotations

SHARDS = 3
