"""Fixtures of the gate's tests."""

from conftest_gate import edit

__all__ = ["edit"]
