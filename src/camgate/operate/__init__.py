"""A model in production: do new data still resemble the old, does the champion still look at the object."""
