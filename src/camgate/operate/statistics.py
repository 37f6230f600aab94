"""What data look like, in numbers small enough to keep with a model, so that its images need not be kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import cv2
import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from camgate.data.cells import as_text
from camgate.data.crops import read_crop
from camgate.data.images import UnreadableImage, read_image
from camgate.data.many_files import for_each_file
from camgate.errors import InputError

PICTURE_NUMBERS = ("width", "height", "brightness", "contrast", "sharpness", "saturation")
"""Of one image. `sharpness` is the logarithm of the variance of the Laplacian at `SIDE` pixels."""
MOST = 1000
"""Images that are looked at, at most; their numbers take about 40 kB."""
SIDE = 128
"""Longer side, in pixels, at which a picture's numbers are taken, so that they do not follow its size."""


class DataStatistics(BaseModel):
    """Data in numbers. Of each group one image counts, drawn by the seed: only groups are independent.

    Attributes:
        rows: of the data.
        groups: independent groups, each with one image here; rows where there is no column `group`.
        labels: groups by the label of their image.
        without_region: of these, how many have neither a region nor a zone.
        unreadable: images of those looked at that could not be decoded.
        pictures: each of `PICTURE_NUMBERS`, one value an image, of at most `MOST` images.
        data_digest: of the data.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    rows: int
    groups: int
    labels: dict[str, int]
    without_region: dict[str, int]
    unreadable: int
    pictures: dict[str, tuple[float, ...]]
    data_digest: str = ""

    @classmethod
    def from_json(cls, text: str) -> DataStatistics:
        """Read what `model_dump_json` wrote.

        Raises:
            InputError: it is something else.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise InputError(
                f"no statistics of data that this version of camgate wrote: {error.errors()[0]['msg']}"
            ) from error


def data_statistics(
    manifest: pd.DataFrame, *, data_digest: str = "", most: int = MOST, seed: int = 0
) -> DataStatistics:
    """Look data through.

    Args:
        manifest: validated rows.
        data_digest: kept in the result.
        most: images that are decoded, at most.
        seed: which image of a group, and which groups' images, are taken.
    """
    shuffled = manifest.sample(frac=1, random_state=seed)
    chosen = shuffled.loc[~_groups(shuffled).duplicated()]
    lacking = chosen.loc[_blank(chosen, "region") & _blank(chosen, "zone")]
    found = for_each_file(_picture, list(chosen.head(most).to_dict("records")))
    numbers = np.array([row for row in found if row is not None], dtype=np.float64)
    numbers = numbers.reshape(-1, len(PICTURE_NUMBERS))
    return DataStatistics(
        rows=len(manifest),
        groups=len(chosen),
        labels=_counts(chosen),
        without_region=_counts(lacking),
        unreadable=sum(row is None for row in found),
        pictures={
            name: tuple(round(float(value), 4) for value in numbers[:, column])
            for column, name in enumerate(PICTURE_NUMBERS)
        },
        data_digest=data_digest,
    )


def picture_numbers(image: np.ndarray) -> tuple[float, ...]:
    """The `PICTURE_NUMBERS` of an image, uint8 `(H, W, 3)`, RGB.

    Brightness is the mean of the grey values and contrast their standard deviation, both as a share of 255;
    saturation is the mean of HSV's; sharpness is Pech-Pacheco et al. 2000 (variance of the Laplacian), as
    log10(1 + variance).
    """
    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    saturation = cv2.cvtColor(small, cv2.COLOR_RGB2HSV)[..., 1]
    edges = cv2.Laplacian(grey, cv2.CV_64F)
    return (
        float(width),
        float(height),
        float(grey.mean() / 255),
        float(grey.std() / 255),
        float(np.log10(1 + edges.var())),
        float(saturation.mean() / 255),
    )


def _picture(row: Mapping[Any, Any]) -> tuple[float, ...] | None:
    try:
        image = read_image(str(row["image"]))
    except UnreadableImage:
        return None
    crop = read_crop(row.get("crop"))
    return picture_numbers(image if crop is None else crop.of(image))


def _groups(rows: pd.DataFrame) -> pd.Series[str]:
    """The group of each row; a row without one is on its own."""
    own = rows["image_id"].astype(str).radd("image ")
    if "group" not in rows:
        return own
    named = rows["group"].map(as_text)
    return named.where(named.ne(""), own)


def _blank(rows: pd.DataFrame, column: str) -> pd.Series[bool]:
    if column not in rows:
        return pd.Series(True, index=rows.index)
    return rows[column].map(as_text).eq("")


def _counts(rows: pd.DataFrame) -> dict[str, int]:
    return {str(label): int(count) for label, count in sorted(rows["label"].value_counts().items())}
