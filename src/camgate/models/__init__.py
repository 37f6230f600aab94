"""Classifiers: a module with its classes and preprocessing, how it is built, trained and evaluated."""
