"""Which images a data.yaml names, and where their labels are."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from camgate.data.formats.reading import read_text
from camgate.data.images import IMAGE_SUFFIXES
from camgate.errors import InputError

SPLITS = {"train": "train", "val": "validation", "test": "test"}
_NO_LABELS = frozenset({"classes.txt", "labels.txt", "README.txt"})
"""Text files that tools put beside the label files."""


class Listed(NamedTuple):
    """An image's path, where its label file is or would be, and its split."""

    image: str
    labels: Path
    split: str | None


def find_data_yaml(place: Path) -> Path:
    """The YAML file itself, or the one in a folder.

    Raises:
        InputError: there is none.
    """
    if place.is_dir():
        for name in ("data.yaml", "data.yml"):
            if (place / name).is_file():
                return place / name
        raise InputError(f"{place}: holds no data.yaml, which names the classes; name the YAML file itself.")
    return place


def list_images(content: Mapping[str, Any], file: Path, faults: list[str]) -> tuple[Path, list[Listed]]:
    """All images of a data set.

    Args:
        content: of the YAML file.
        file: the YAML file.
        faults: receives images that are listed twice, label files without an image, places that do not exist.

    Returns:
        The data set's folder, and the images in the order of splits and names.

    Raises:
        InputError: `path` is no folder.
    """
    root = _root(content.get("path"), file)
    listed: dict[str, Listed] = {}
    owners: dict[Path, str] = {}
    folders: set[Path] = set()  # where every label file must belong to an image
    keys: list[str | None] = [key for key in SPLITS if content.get(key)]
    for key in keys or [None]:
        places = content[key] if key is not None else "images"
        for place in places if isinstance(places, list) else [places]:
            images, whole = _images(place, key, root, faults)
            for image in images:
                labels = labels_of(image)
                if whole:
                    folders.add(labels.parent)
                if image in listed:
                    where = f"`{key}`, " if key else ""
                    faults.append(f"{where}{image}: the image is listed already")
                elif labels in owners:
                    faults.append(f"{image}: shares its label file {labels} with {owners[labels]}")
                else:
                    owners[labels] = image
                    listed[image] = Listed(image, labels, SPLITS[key] if key is not None else None)
    for folder in sorted(folders):
        bare = {path for path in folder.glob("*.txt") if path.name not in _NO_LABELS}.difference(owners)
        faults += [f"{path}: no image that is listed belongs to this label file" for path in sorted(bare)]
    if not listed and not faults:
        faults.append(f"{root}: no images found")
    return root, list(listed.values())


def labels_of(image: str) -> Path:
    """`/images/` (the last one) becomes `/labels/`, the suffix .txt."""
    head, found, tail = image.rpartition(f"{os.sep}images{os.sep}")
    return Path(f"{head}{os.sep}labels{os.sep}{tail}" if found else image).with_suffix(".txt")


def _root(path: Any, file: Path) -> Path:
    if path is None or str(path).strip() in {"", "."}:
        return file.parent
    root = Path(os.path.normpath(file.parent / str(path)))
    if not root.is_dir():
        raise InputError(
            f"{file}: `path` {str(path)!r} is no folder ({root}); it starts from the file's folder."
        )
    return root


def _images(place: Any, key: str | None, root: Path, faults: list[str]) -> tuple[list[str], bool]:
    """The images of a place, and whether it is a folder as a whole (not a list)."""
    if not isinstance(place, str):
        faults.append(f"`{key}`: {place!r} is no path")
        return [], False
    path = Path(os.path.normpath(root / place))
    if not path.exists() and place.startswith("../"):
        # Some tools write `train: ../train/images` into a data.yaml beside `train/`.
        path = Path(os.path.normpath(root / place[3:]))
    if path.is_dir():
        return sorted(_walk(path)), True
    if path.is_file() and path.suffix.lower() == ".txt":
        lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
        return [_listed(line, path.parent, root) for line in lines], False
    faults.append(f"`{key or 'images'}`: {path} is no folder of images and no .txt that lists images")
    return [], False


def _listed(line: str, folder: Path, root: Path) -> str:
    """A line starts from the list's folder, or from the data set's."""
    path = os.path.normpath(folder / line)
    return path if os.path.exists(path) else os.path.normpath(root / line)


def _walk(folder: Path) -> Iterator[str]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:
                yield os.path.join(place, name)
