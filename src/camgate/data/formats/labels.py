"""Labels that come from elsewhere than the categories: a folder, a column, a file."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from camgate.data.cells import as_text, locate
from camgate.data.formats.reading import near, read_text
from camgate.data.tables import parse_csv
from camgate.errors import InputError, ManifestError

ImageLabel = Callable[[str, str, Mapping[str, Any]], str]
"""Label of an image by its path, its name in the annotations and its columns.

Raises `ValueError` where there is none.
"""


def labels_from(source: str) -> ImageLabel:
    """How to find an image's label.

    Args:
        source: "folder" (the image's own), the name of a column, or a `.csv` or `.json` file with `image`
            and `label`.

    Raises:
        InputError: the file cannot be read.
        ManifestError: faults in it.
    """
    if source == "folder":
        return lambda path, name, columns: os.path.basename(os.path.dirname(path))
    if source.lower().endswith((".csv", ".json")):
        return _LabelFile(Path(source).absolute())
    return _Column(source)


class _Column:
    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, path: str, name: str, columns: Mapping[str, Any]) -> str:
        label = as_text(columns.get(self._name))
        if label:
            return label
        if self._name in columns:
            raise ValueError(f"its column {self._name!r} is empty")
        others = f"there are: {', '.join(map(str, columns))}" if columns else "it has no columns"
        raise ValueError(
            f"it has no column {self._name!r} (`label_from`); {others}{near(self._name, columns)}"
        )


class _LabelFile:
    """A table image -> label; an image is found by its path, its name, or a file name that is its alone."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._labels: dict[str, str] = {}
        self._users: dict[str, str] = {}
        faults = []
        for number, image, label in _entries(file):
            if not image or not label:
                faults.append(f"entry {number}: `{'label' if image else 'image'}` is empty")
            elif image in self._labels:
                faults.append(f"entry {number}: image {image!r} is listed already")
            else:
                self._labels[image] = label
        if faults:
            raise ManifestError(str(file), faults)
        self._places = {_place(image, file.parent): image for image in self._labels}
        counts = Counter(os.path.basename(image) for image in self._labels)
        self._bases = {
            os.path.basename(image): image for image in self._labels if counts[os.path.basename(image)] == 1
        }

    def __call__(self, path: str, name: str, columns: Mapping[str, Any]) -> str:
        entry = self._places.get(path) or (name if name in self._labels else None)
        entry = entry or self._bases.get(os.path.basename(path))
        if entry is None:
            raise ValueError(f"{self._file} names no label for it (looked for {name!r} and {path!r})")
        other = self._users.setdefault(entry, path)
        if other != path:
            raise ValueError(
                f"the entry {entry!r} of {self._file} fits {other} as well; give paths, not names of files"
            )
        return self._labels[entry]


def _place(image: str, root: Path) -> str:
    try:
        return locate(image, root)
    except ValueError:
        return image


def _entries(file: Path) -> list[tuple[int, str, str]]:
    """Number (line of a CSV, position in JSON), image and label."""
    if file.suffix.lower() == ".csv":
        frame, numbers = parse_csv(read_text(file).encode(), str(file))
        _check_names(file, list(frame.columns))
        pairs = zip(frame["image"], frame["label"], strict=True)
        return [
            (number, as_text(image), as_text(label))
            for number, (image, label) in zip(numbers, pairs, strict=True)
        ]
    try:
        entries = json.loads(read_text(file))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: not JSON ({error}).") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InputError(f'{file}: a list of objects {{"image": ..., "label": ...}} is expected.')
    for entry in entries:
        _check_names(file, list(entry))
    return [
        (number, as_text(entry["image"]), as_text(entry["label"])) for number, entry in enumerate(entries, 1)
    ]


def _check_names(file: Path, names: list[Any]) -> None:
    for wanted in ("image", "label"):
        if wanted not in names:
            raise InputError(
                f"{file}: no column {wanted!r}; there are: {', '.join(map(str, names)) or 'none'}"
                f"{near(wanted, map(str, names))}."
            )
