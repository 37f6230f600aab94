"""Annotated images to the rows of a manifest."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from camgate.data.cells import as_text, not_unicode
from camgate.data.formats.instances import AnnotatedImage, Choice, Instance
from camgate.data.formats.labels import ImageLabel, labels_from
from camgate.data.formats.reading import near, some
from camgate.data.formats.shapes import area, bounds, cell, union
from camgate.data.manifest import validate_manifest
from camgate.data.zones import Zone, apply_zone
from camgate.errors import ManifestError

SMALLEST_MARGIN = 8
"""Pixels around a crop's box, at least."""
OWN = frozenset({"image", "image_id", "label", "region", "crop", "zone"})
"""The manifest's own columns: what annotations call so is not copied into them."""

_log = logging.getLogger(__name__)


def build_manifest(
    images: Iterable[AnnotatedImage],
    choice: Choice,
    *,
    source: str,
    root: Path,
    faults: list[str],
    known: set[str],
    zone: Zone | Sequence[Zone] | None = None,
    check_files: bool = True,
) -> pd.DataFrame:
    """Rows of all images, or all faults of all images.

    Images are taken one by one and only their cells are kept, so that memory does not grow with pixels.

    Args:
        images: in the order of their rows.
        choice: how instances become a label.
        source: the annotations, for messages.
        root: folder that `image_id`s are made from.
        faults: what the reader of `images` finds while it yields them.
        known: categories that the annotations declare, whether or not they occur or count; the reader may
            add to it while it yields.
        zone: fixed zone(s) of the camera.
        check_files: look at the images' headers.

    Returns:
        A validated manifest.

    Raises:
        ManifestError: any fault.
    """
    tally = _Tally(categories=known)
    labels = None if choice.label_from == "category" else labels_from(choice.label_from)
    rows: list[dict[str, Any]] = []
    before = len(faults)
    for image in images:
        tally.images += 1
        if len(faults) > before:  # its annotations are broken: that is enough to say about it
            before = len(faults)
            continue
        tally.categories.update(instance.category for instance in image.instances)
        rows += _by_category(image, choice, tally) if labels is None else _labelled(image, labels, faults)
        before = len(faults)
    faults += tally.faults(choice)
    if not rows and not faults:
        faults.append(f"no row remains of {tally.images} image(s); {tally.dropped() or 'nothing is listed'}")
    faults += [
        f"{name} {why}"
        for row in rows
        for name, value in row.items()
        if isinstance(value, str) and (why := not_unicode(value)) is not None
    ]
    if faults:
        raise ManifestError(source, faults)
    if tally.dropped():
        _log.warning("%s: %s", source, tally.dropped())
    names = {row["label"] for row in rows}
    if labels is not None and tally.categories and not names & tally.categories:
        _log.warning(
            "%s: no label (%s) is a category (%s), so that no image has a valid pixel",
            source,
            some(sorted(names)),
            some(sorted(tally.categories)),
        )
    frame = frame_of(rows)
    if zone is not None:
        frame = apply_zone(frame, zone)
    return validate_manifest(frame, source=source, root=root, check_files=check_files)


@dataclass
class _Tally:
    """What happened to the images that gave no row."""

    images: int = 0
    categories: set[str] = field(default_factory=set)
    several: Counter[tuple[str, ...]] = field(default_factory=Counter)
    mixed: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    aside: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def faults(self, choice: Choice) -> Iterator[str]:
        for name in choice.categories or ():
            if name not in self.categories:
                yield (
                    f"`categories`: no category {name!r}{near(name, self.categories)} "
                    f"(there are: {some(sorted(self.categories), 20) or 'none'})"
                )
        if choice.multiple == "error" and self.mixed:
            often = ", ".join(f"{' + '.join(names)} ({n})" for names, n in self.several.most_common(5))
            yield (
                f"{len(self.mixed)} of {self.images} images hold instances of several categories, most "
                f"often: {often}; the first: {some(self.mixed)}. A row has one label: choose `multiple` = "
                "crop (a row for each instance), largest or drop, name the `categories` that count, or "
                "give `label_from`"
            )
        if choice.multiple in {"crop", "drop"}:
            return
        if self.empty:
            yield (
                f"{len(self.empty)} of {self.images} images hold no instance, the first: {some(self.empty)}; "
                'give their label by `empty_label`, e.g. "empty", or leave them out by `multiple` = drop'
            )
        if self.aside:
            yield (
                f"{len(self.aside)} of {self.images} images hold only crowds or difficult objects, which "
                f"give no label, the first: {some(self.aside)}; leave them out by `multiple` = drop or "
                "give `label_from`"
            )

    def dropped(self) -> str:
        parts = [
            f"{len(names)} {what} (the first: {some(names)})"
            for names, what in (
                (self.mixed, "image(s) with several categories"),
                (self.empty, "image(s) without instances"),
                (self.aside, "image(s) with crowds or difficult objects only"),
                (self.lost, "instance(s) without a pixel"),
            )
            if names
        ]
        return f"left out: {'; '.join(parts)}" if parts else ""


def _by_category(image: AnnotatedImage, choice: Choice, tally: _Tally) -> list[dict[str, Any]]:
    single = [instance for instance in image.instances if not instance.aside]
    categories = sorted({instance.category for instance in single})
    if not categories:
        if image.instances:
            tally.aside.append(image.name)
        elif choice.empty_label is None:
            tally.empty.append(image.name)
        else:
            row = _row(image, choice.empty_label)
            return [row | {"image_id": image.name} if choice.multiple == "crop" else row]
        return []
    if choice.multiple == "crop":
        return list(_crops(image, single, choice.crop_margin, tally))
    if len(categories) == 1:
        return [_row(image, categories[0])]
    if choice.multiple == "largest":
        return [_row(image, max(single, key=lambda instance: area(instance.runs, image.size)).category)]
    tally.several[tuple(categories)] += 1
    tally.mixed.append(image.name)
    return []


def _labelled(image: AnnotatedImage, labels: ImageLabel, faults: list[str]) -> list[dict[str, Any]]:
    try:
        return [_row(image, labels(image.path, image.name, image.columns))]
    except ValueError as error:
        faults.append(f"image {image.name!r}: {error}")
        return []


def _row(image: AnnotatedImage, label: str) -> dict[str, Any]:
    columns = {name: value for name, value in image.columns.items() if name not in OWN}
    return {"image": image.path, "label": label, "region": _region(image, label), **columns}


def _region(image: AnnotatedImage, label: str) -> str:
    mine = [instance for instance in image.instances if instance.category == label]
    void = [instance.runs for instance in mine if instance.aside]
    if image.void is not None:
        void.append(image.void)
    valid = union([instance.runs for instance in mine if not instance.aside], image.size)
    return cell(valid, void, image.size)


def _crops(
    image: AnnotatedImage, single: list[Instance], margin: float, tally: _Tally
) -> Iterator[dict[str, Any]]:
    """A row for each instance; its region is that of its category: a second dog beside it is valid too."""
    whole = {category: _row(image, category) for category in {instance.category for instance in single}}
    for instance in single:
        if not area(instance.runs, image.size):
            tally.lost.append(f"{image.name}#{instance.name}")
            continue
        window = crop_window(bounds(instance.runs, image.size), image.size, margin)
        row = whole[instance.category]
        yield row | {
            "image_id": f"{image.name}#{instance.name}",
            "crop": ",".join(map(str, window)),
            "group": as_text(row.get("group")) or image.name,
        }


def crop_window(
    box: tuple[int, int, int, int], size: tuple[int, int], margin: float
) -> tuple[int, int, int, int]:
    """A box widened by `margin` of its longer side, at least by 8 pixels, clipped to the image.

    Args:
        box: x0, y0, x1, y1 in whole pixels, x1 and y1 exclusive.
        size: `(height, width)`.
        margin: 0 or more.
    """
    x0, y0, x1, y1 = box
    wider = max(SMALLEST_MARGIN, math.ceil(margin * max(x1 - x0, y1 - y0)))
    return max(0, x0 - wider), max(0, y0 - wider), min(size[1], x1 + wider), min(size[0], y1 + wider)


def frame_of(rows: Sequence[Mapping[str, Any]], names: Sequence[str] = ()) -> pd.DataFrame:
    """A table of rows; `names` are columns of it even where there is no row."""
    columns = dict.fromkeys([*names, *(name for row in rows for name in row)])
    return pd.DataFrame({name: pd.Series([row.get(name) for row in rows], dtype=object) for name in columns})
