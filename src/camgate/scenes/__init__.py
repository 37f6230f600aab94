"""The rendered underpass: the built-in example data."""
