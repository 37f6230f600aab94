"""Data sets of Hugging Face's `datasets`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from camgate.data.cells import as_text, is_blank
from camgate.data.formats.pictures import Rows, manifest_of, write_bytes, write_picture
from camgate.data.formats.reading import near
from camgate.data.formats.rows import OWN
from camgate.data.zones import Zone
from camgate.errors import InputError

StrPath = str | os.PathLike[str]

_SPLITS = {"val": "validation", "valid": "validation", "dev": "validation"}


def from_huggingface(
    dataset: Any,
    *,
    image: str = "image",
    label: str = "label",
    region: str | None = None,
    folder: StrPath | None = None,
    split: str | None = None,
    zone: Zone | Sequence[Zone] | None = None,
) -> pd.DataFrame:
    """Take a Hugging Face `Dataset`, `DatasetDict` or `IterableDataset` of classified images.

    Pictures are not decoded: a file that is there is used where it lies, bytes are written as they are. A
    format or transform that was set (`with_format`, `set_transform`) is not applied; what `map` did is part
    of the data. Further plain columns (text, numbers, class labels) are kept.

    Args:
        dataset: the names of a `DatasetDict` become the column `split` ("val" becomes "validation").
        image: column of the pictures.
        label: column of the labels: class labels, text or whole numbers.
        region: column of the masks (pictures, non-zero = valid); None: there is none.
        folder: new; receives the pictures that are no files, and `manifest.csv`. An `IterableDataset` needs
            it.
        split: split of all rows, for a data set that is no dict.
        zone: fixed zone(s) of the camera, see `apply_zone`.

    Returns:
        A validated manifest; `image_id` is the number of the row (with its split before it).

    Raises:
        InputError: no such data set or column, or no `folder` where one is needed.
        ManifestError: faults, each with split and row.
    """
    parts = _parts(dataset, split)
    opened = {
        name: _Part(part, name, image, label, region, folder is not None) for name, part in parts.items()
    }

    def rows(scratch: Path | None, faults: list[str]) -> Rows:
        return [row for part in opened.values() for row in part.rows(scratch, faults)]

    target = None if folder is None else Path(folder).absolute()
    return manifest_of(rows, target, source=f"Hugging Face {type(dataset).__name__}", zone=zone)


def _parts(dataset: Any, split: str | None) -> dict[str | None, Any]:
    try:
        hub = import_module("datasets")
    except ImportError as error:
        raise InputError(
            f"`dataset` is a {type(dataset).__name__}, and `datasets` is not installed ({error})."
        ) from error
    kinds = (hub.Dataset, hub.IterableDataset)
    if isinstance(dataset, Mapping) and dataset and all(isinstance(part, kinds) for part in dataset.values()):
        if split is not None:
            raise InputError("`split` names the split of all rows, but the data set has splits of its own.")
        return {_SPLITS.get(str(name), str(name)): part for name, part in dataset.items()}
    if not isinstance(dataset, kinds):
        raise InputError(
            f"`dataset` must be a Dataset, DatasetDict or IterableDataset of `datasets`, not "
            f"{type(dataset).__name__}."
        )
    return {split: dataset}


class _Part:
    """One split."""

    def __init__(
        self, dataset: Any, split: str | None, image: str, label: str, region: str | None, has_folder: bool
    ) -> None:
        hub = import_module("datasets")
        self._split = split
        self._pictures = {"image": image} | ({} if region is None else {"region": region})
        self._label = label
        streamed = isinstance(dataset, hub.IterableDataset)
        if streamed and not has_folder:
            raise InputError("an IterableDataset needs `folder`, a new one, which receives its pictures.")
        if not streamed:
            dataset = dataset.with_format(None)
        self._features = dataset.features
        if self._features is not None:
            dataset = self._check(dataset, hub)
        self._dataset = dataset

    def _check(self, dataset: Any, hub: Any) -> Any:
        """Columns and their kinds, where the data set states them; pictures are left encoded."""
        for name in (*self._pictures.values(), self._label):
            if name not in self._features:
                raise InputError(
                    f"the data set has no column {name!r}; there are: {', '.join(self._features)}"
                    f"{near(name, self._features)}."
                )
        for option, name in self._pictures.items():
            if not isinstance(self._features[name], hub.Image):
                raise InputError(
                    f"column {name!r} (`{option}`) holds {self._features[name]!r}, not pictures "
                    "(`datasets.Image`)."
                )
            dataset = dataset.cast_column(name, hub.Image(decode=False))
        if not isinstance(self._features[self._label], hub.ClassLabel | hub.Value):
            raise InputError(
                f"column {self._label!r} (`label`) holds {self._features[self._label]!r}; one label for "
                "each image is expected (class label, text or whole number)."
            )
        return dataset

    def rows(self, scratch: Path | None, faults: list[str]) -> Iterator[dict[str, Any]]:
        for number, item in enumerate(self._dataset):
            name = f"{number:08d}" if self._split is None else f"{self._split}/{number:08d}"
            row: dict[str, Any] = {"image_id": name}
            try:
                for column, key in self._pictures.items():
                    row[column] = self._place(item, key, column, scratch, f"{column}s/{name}")
                row["label"] = self._text(item, self._label)
                if not row["label"]:
                    raise ValueError(f"column {self._label!r}: no label")
            except ValueError as error:
                faults.append(f"{f'split {self._split!r}, ' if self._split else ''}row {number}: {error}")
                continue
            if self._split is not None:
                row["split"] = self._split
            yield {**self._others(item), **row}

    def _place(
        self, item: Mapping[str, Any], key: str, column: str, scratch: Path | None, name: str
    ) -> str | None:
        """Where a picture lies, written if need be; None for a region that is absent."""
        if key not in item:
            raise ValueError(f"no column {key!r}; there are: {', '.join(item)}{near(key, item)}")
        value = item[key]
        path = value.get("path") if isinstance(value, Mapping) else None
        content = value.get("bytes") if isinstance(value, Mapping) else None
        if path and (content is None or os.path.isabs(path)) and os.path.isfile(path):
            return str(os.path.abspath(path))
        if content is None and not isinstance(value, Image.Image):
            if column == "region" and not path:
                return None
            raise ValueError(f"column {key!r}: {f'{path}: no such file' if path else 'no picture'}")
        if scratch is None:
            raise InputError(
                f"column {key!r} holds pictures that are no files; give `folder`, a new one, which receives "
                "them."
            )
        try:
            if isinstance(value, Image.Image):
                return write_picture(value, scratch, name)
            return write_bytes(content or b"", scratch, name)
        except ValueError as error:
            raise ValueError(f"column {key!r}: {error}") from error

    def _text(self, item: Mapping[str, Any], key: str) -> str:
        """A cell as text; class labels by name."""
        if key not in item:
            raise ValueError(f"no column {key!r}; there are: {', '.join(item)}{near(key, item)}")
        value = item[key]
        names = getattr((self._features or {}).get(key), "names", None)
        if names is None or is_blank(value):
            return as_text(value)
        if not 0 <= int(value) < len(names):
            raise ValueError(f"column {key!r}: class {value} has no name (there are {len(names)})")
        return str(names[int(value)])

    def _others(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """Further plain columns."""
        taken = {*self._pictures.values(), self._label, *OWN}
        return {
            key: value if not _is_class(self._features, key) else self._text(item, key)
            for key, value in item.items()
            if key not in taken and (value is None or isinstance(value, str | int | float | bool))
        }


def _is_class(features: Any, key: str) -> bool:
    return getattr((features or {}).get(key), "names", None) is not None
