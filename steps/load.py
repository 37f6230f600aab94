"""Step: read and validate the data."""

from __future__ import annotations

from typing import Annotated

import pandas as pd
from zenml import step
from zenml.config.cache_policy import CachePolicy

from camgate.data.zones import Zone
from camgate.materializers.sources import pin
from camgate.steps._fingerprint import data_fingerprint, read_manifest


@step(cache_policy=CachePolicy(cache_func=data_fingerprint))
def load_data(
    data: str, masks: str | None = None, zone: Zone | None = None
) -> Annotated[pd.DataFrame, "manifest"]:
    """Read a manifest or a folder of images; cached until a row or a file of it changes.

    Args:
        data: a `.csv` or `.parquet` manifest, or a folder in one of the layouts of
            `camgate.data.sources.load_data`.
        masks: folder of masks beside the folder `data` of images, see `camgate.load_folder`.
        zone: fixed zone of the camera, on top of what the data say.

    Returns:
        The validated manifest, paths absolute.

    Raises:
        ManifestError: the data have faults; all are named.
    """
    return read_manifest(data, masks, zone)


pin(load_data.entrypoint)
