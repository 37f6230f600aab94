"""What all readers do: text of a file, sizes of images, an optional library, a near name."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from camgate.data.checking import MISSING
from camgate.data.images import UnreadableImage, read_size
from camgate.data.many_files import for_each_file
from camgate.errors import InputError

Size = tuple[int, int]
"""Height and width in pixels."""


def need(module: str) -> Any:
    """A module of an optional library, with an error that says how to get it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise InputError(
            f"annotations are read with {module.split('.')[0]}, which is not installed "
            f"({error}); run: pip install 'camgate[formats]'"
        ) from error


def read_text(path: Path) -> str:
    """A UTF-8 text file, with or without byte order mark.

    Raises:
        InputError: no such file, or another encoding.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file.") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
    if content[:2] in {b"\xff\xfe", b"\xfe\xff"} or b"\0" in content[:4]:
        raise InputError(f"{path}: the text is UTF-16 or UTF-32; save it as UTF-8.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}: not UTF-8 text (byte 0x{content[error.start]:02x} in line {line}); save it as UTF-8."
        ) from error


def near(name: str, known: Iterable[str]) -> str:
    """`; did you mean ...?`, or "" when nothing is near."""
    names = difflib.get_close_matches(name, list(known), n=2)
    return f"; did you mean {' or '.join(map(repr, names))}?" if names else ""


def some(names: Iterable[str], shown: int = 3) -> str:
    """The first names and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - shown} more" if len(listed) > shown else ""
    return ", ".join(listed[:shown]) + more


class Sizes:
    """Sizes of many image files, read at once, against the sizes that annotations state."""

    def __init__(self, paths: Sequence[str], *, what: str) -> None:
        """Read the headers; `what` says how to name the right folder, for the case that no image is there."""
        self._headers: dict[str, Size | str] = dict(zip(paths, for_each_file(_header, paths), strict=True))
        self._what = what

    def none_there(self) -> str | None:
        """One fault for all images when there is not a single one, else None."""
        if len(self._headers) < 2 or any(header != MISSING for header in self._headers.values()):
            return None
        first = next(iter(self._headers))
        return f"none of the {len(self._headers)} images is there, for example {first}; {self._what}"

    def check(self, path: str, stated: Size | None) -> Size:
        """The size of an image.

        An image that is there but unreadable keeps its stated size: it is counted as unreadable later.

        Raises:
            ValueError: no such file, no size at all, or another one than stated.
        """
        header = self._headers.get(path)
        if header == MISSING:
            raise ValueError(f"{path}: {MISSING}")
        if isinstance(header, tuple) and stated is not None and header != stated:
            turned = header == (stated[1], stated[0])
            raise ValueError(
                f"{path} is {header[1]}x{header[0]} pixels (width x height, upright), but its annotation "
                f"says {stated[1]}x{stated[0]}"
                + (
                    "; the annotation may have been drawn on the image before its EXIF orientation was "
                    "applied"
                    if turned
                    else ""
                )
            )
        if stated is not None:
            return stated
        if not isinstance(header, tuple):
            raise ValueError(f"{header or path}; its size is needed and not stated by the annotation")
        return header


def _header(path: str) -> Size | str:
    try:
        return read_size(path)
    except UnreadableImage as error:
        return str(error).removesuffix(".") if os.path.exists(path) else MISSING
