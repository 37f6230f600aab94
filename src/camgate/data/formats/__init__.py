"""Readers of other people's annotations and data sets; each returns a validated manifest."""
