"""VOC's palette files: each pixel's index is an object or a class, 255 is void."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from camgate.data.formats.instances import Choice, Instance
from camgate.data.formats.reading import Size
from camgate.data.formats.shapes import Runs, mask_runs
from camgate.data.formats.voc_xml import VocFile

VOID = 255
VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train"),
    "tvmonitor",
)


class VocMasks:
    """The masks of one data set; remembers which class index belongs to which category."""

    def __init__(self, root: Path, class_names: Sequence[str]) -> None:
        self._objects = root / "SegmentationObject"
        self._classes = root / "SegmentationClass"
        self._names = dict(enumerate(class_names, 1))
        self._seen: dict[str, tuple[int, str]] = {}

    def has(self, stem: str) -> bool:
        """True when the image has a mask of either kind."""
        return any((folder / f"{stem}.png").is_file() for folder in (self._objects, self._classes))

    def read(
        self, stem: str, file: VocFile, size: Size, choice: Choice, difficult_aside: bool, faults: list[str]
    ) -> tuple[list[Instance], Runs | None]:
        """Instances and void pixels of an image."""
        try:
            objects = _indices(self._objects / f"{stem}.png", size)
            classes = _indices(self._classes / f"{stem}.png", size)
            if objects is not None:
                instances = self._by_object(objects, classes, file, choice, difficult_aside)
                indices = objects
            else:
                assert classes is not None  # noqa: S101  # `has` said so
                instances = self._by_class(classes, stem, file, choice, difficult_aside)
                indices = classes
        except ValueError as error:
            faults.append(str(error))
            return [], None
        void = indices == VOID
        return instances, mask_runs(void) if void.any() else None

    def _by_object(
        self,
        objects: NDArray[np.generic],
        classes: NDArray[np.generic] | None,
        file: VocFile,
        choice: Choice,
        difficult_aside: bool,
    ) -> list[Instance]:
        path = self._objects / f"{file.path.stem}.png"
        present = [int(index) for index in np.unique(objects) if index not in (0, VOID)]
        if present and present[-1] > len(file.objects):
            raise ValueError(
                f"{path}: holds index {present[-1]}, but {file.path} has {len(file.objects)} object(s); "
                "index n is the n-th object"
            )
        instances = []
        for one in file.objects:
            if choice.counts(one.category):
                pixels = objects == one.number
                if classes is not None and pixels.any():
                    self._check_class(one.category, classes[pixels], path, one.number)
                aside = one.difficult and difficult_aside
                instances.append(Instance(str(one.number), one.category, mask_runs(pixels), aside))
        return instances

    def _check_class(self, category: str, indices: NDArray[np.generic], path: Path, number: int) -> None:
        """The same category must have the same class index everywhere: objects out of order show here."""
        values, counts = np.unique(indices, return_counts=True)
        index = int(values[counts.argmax()])
        before, where = self._seen.setdefault(category, (index, path.name))
        if before != index:
            raise ValueError(
                f"{path}: object {number} is {category!r} in the XML file, and there SegmentationClass "
                f"holds class index {index}, but {before} for {category!r} in {where}; are the objects "
                "out of order?"
            )

    def _by_class(
        self,
        classes: NDArray[np.generic],
        stem: str,
        file: VocFile,
        choice: Choice,
        difficult_aside: bool,
    ) -> list[Instance]:
        path = self._classes / f"{stem}.png"
        instances = []
        for value in np.unique(classes):
            index = int(value)
            if index in (0, VOID):
                continue
            if index not in self._names:
                raise ValueError(
                    f"{path}: class index {index} has no name; give `class_names` (there are "
                    f"{len(self._names)})"
                )
            name = self._names[index]
            if choice.counts(name):
                same = [one.difficult for one in file.objects if one.category == name]
                aside = difficult_aside and bool(same) and all(same)
                instances.append(Instance(name, name, mask_runs(classes == value), aside))
        return instances


def _indices(path: Path, size: Size) -> NDArray[np.generic] | None:
    """Palette indices `(H, W)`, not colours; None without a file.

    Raises:
        ValueError: not a palette or grey file, damaged, or of another size than the image.
    """
    if not path.is_file():
        return None
    try:
        with Image.open(path) as picture:
            mode = picture.mode
            indices = np.asarray(picture)
    except Exception as error:  # decoders raise whatever their format's library raises
        raise ValueError(f"{path}: cannot be read as an image ({error})") from error
    if mode not in {"P", "L"}:
        raise ValueError(
            f"{path}: holds colours ({mode}), not indices; save it as a palette PNG, index = object or class"
        )
    if indices.shape != size:
        raise ValueError(
            f"{path} is {indices.shape[1]}x{indices.shape[0]} pixels (width x height), its image "
            f"{size[1]}x{size[0]}; they must be equal"
        )
    return indices
