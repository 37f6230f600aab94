"""Annotated instances, and the choices by which an image of several of them becomes a row with one label."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from camgate.data.formats.reading import Size, near
from camgate.data.formats.shapes import Runs
from camgate.errors import InputError

Multiple = Literal["error", "crop", "largest", "drop"]


@dataclass(frozen=True, slots=True)
class Instance:
    """One annotated object.

    Attributes:
        name: of its own in its image, e.g. the annotation's id.
        category: what it is.
        runs: its pixels in the whole image.
        aside: it is there but does not count as an object (a crowd, a difficult one): it gives no label and
            no crop, and its pixels are void where its category is the row's label.
    """

    name: str
    category: str
    runs: Runs
    aside: bool = False


@dataclass(frozen=True, slots=True)
class AnnotatedImage:
    """One image with its instances.

    Attributes:
        path: absolute.
        name: as the annotations call it; of its own in the data set.
        size: of the upright image.
        instances: of the categories that count.
        void: pixels that belong to neither side, whatever the label is; None for none.
        columns: what else is known of the image.
    """

    path: str
    name: str
    size: Size
    instances: Sequence[Instance]
    void: Runs | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Choice:
    """How rows are made of annotated images; see `load_coco` for what each option means."""

    label_from: str = "category"
    multiple: Multiple = "error"
    crop_margin: float = 0.25
    categories: Sequence[str] | None = None
    empty_label: str | None = None

    def __post_init__(self) -> None:
        """Refuse what has no meaning before any file is read."""
        if self.multiple not in get_args(Multiple):
            raise InputError(
                f"`multiple` must be one of {', '.join(get_args(Multiple))}, not {self.multiple!r}"
                f"{near(str(self.multiple), get_args(Multiple))}."
            )
        if not isinstance(self.crop_margin, int | float) or not 0 <= self.crop_margin < math.inf:
            raise InputError(
                f"`crop_margin` must be 0 or more (of the box' longer side), not {self.crop_margin}."
            )
        if self.categories is not None and (isinstance(self.categories, str) or not list(self.categories)):
            raise InputError(
                f"`categories` must be a list of one or more names, not {self.categories!r}; leave it out to "
                "count all."
            )
        if not isinstance(self.label_from, str) or not self.label_from.strip():
            raise InputError(
                '`label_from` must be "category", "folder", a column\'s name or a file, '
                f"not {self.label_from!r}."
            )
        if self.empty_label is not None and (
            not isinstance(self.empty_label, str) or not self.empty_label.strip()
        ):
            raise InputError(f"`empty_label` must be a label, not {self.empty_label!r}.")
        if self.label_from != "category":
            for option, default in (("multiple", "error"), ("empty_label", None)):
                if getattr(self, option) != default:
                    raise InputError(
                        f"`{option}` decides on labels that come from categories; here they come from "
                        f"{self.label_from!r} (`label_from`), so leave `{option}` out."
                    )

    def counts(self, category: str) -> bool:
        """True when instances of this category are looked at."""
        return self.categories is None or category in self.categories
