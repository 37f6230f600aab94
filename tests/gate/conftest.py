"""Fixtures of the gate's tests."""

from audits_by_hand import edit

__all__ = ["edit"]
