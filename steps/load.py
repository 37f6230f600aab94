"""Step: read and validate the data."""

from __future__ import annotations

from typing import Annotated, Any

import pandas as pd
from zenml import step
from zenml.config.cache_policy import CachePolicy

from camgate.data.reading import read_data
from camgate.materializers.sources import pin
from camgate.steps._fingerprint import data_fingerprint


@step(cache_policy=CachePolicy(cache_func=data_fingerprint))
def load_data(data: str, options: dict[str, Any] | str | None = None) -> Annotated[pd.DataFrame, "manifest"]:
    """Read a manifest or a folder of images; cached until a row or a file of it changes.

    Args:
        data: a manifest, an annotation file or a folder in one of the layouts of
            `camgate.data.sources.load_data`.
        options: how they are read and where valid pixels are, see `camgate.data.reading.DataOptions`: a
            mapping, or the path of a YAML file.

    Returns:
        The validated manifest, paths absolute.

    Raises:
        ManifestError: the data have faults; all are named.
    """
    return read_data(data, options)


pin(load_data.entrypoint)
