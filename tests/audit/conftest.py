"""Data and models for which every number is known."""

from __future__ import annotations

import pandas as pd
import pytest

from camgate.models.classifier import Classifier
from readers import paint, reader


@pytest.fixture(scope="session")
def biased_data(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The wall has the colour of the object: a shortcut."""
    return paint(tmp_path_factory.mktemp("biased"), wall=lambda label, number: label)


@pytest.fixture(scope="session")
def fair_data(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The wall's colour alternates, whatever the object's is."""
    return paint(tmp_path_factory.mktemp("fair"), wall=lambda label, number: ("red", "blue")[number % 2])


@pytest.fixture
def reads_wall() -> Classifier:
    return reader(slice(0, 2), slice(0, 2))


@pytest.fixture
def reads_object() -> Classifier:
    return reader(slice(4, 6), slice(4, 6))
