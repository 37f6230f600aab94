"""What stands in a manifest's cells: blanks, text, and the way from a cell to a file."""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from camgate.errors import InputError
from camgate.storage import check_address, is_remote, join

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+)://")


def is_blank(cell: Any) -> bool:
    """True for None, NaN, NA and text of white space only.

    The words "NA", "null" or "nan" as text are no blanks: they may be labels.
    """
    if cell is None:
        return True
    if isinstance(cell, str):
        return not cell.strip()
    try:
        return bool(cell != cell)  # NaN and NaT; pandas' NA raises on bool()
    except (TypeError, ValueError):
        return type(cell).__name__ == "NAType"


def as_text(cell: Any) -> str:
    """A cell as stripped text; "" for a blank one. Integers read alike from CSV and Parquet ("0")."""
    if is_blank(cell):
        return ""
    if isinstance(cell, bytes):
        return cell.decode("utf-8", errors="replace").strip()
    return str(cell).strip()


def not_unicode(text: str) -> str | None:
    """Why a text cannot be written: names made of bytes that are no UTF-8. None where it can."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return f"{text!a} is no valid Unicode (a name in another encoding than UTF-8?); rename it"
    return None


def locate(cell: Any, root: Path | str) -> str:
    """The absolute path, or the URL, that a cell names.

    Args:
        cell: a path, relative to `root` or absolute, a `file://` URI, or a URL that fsspec knows.
        root: absolute folder, or a folder's URL.

    Raises:
        ValueError: the cell is no path (the text says why, without row or column).
    """
    if not isinstance(cell, str | os.PathLike):
        raise ValueError(f"{cell!r} is not text; a file's path is expected")
    text = os.fspath(cell)
    if not isinstance(text, str) or "\0" in text:
        raise ValueError(f"{text!r} is not a path")
    if (why := not_unicode(text)) is not None:
        raise ValueError(why)
    scheme = _SCHEME.match(text)
    if scheme is None:
        if is_remote(root) and not os.path.isabs(text):
            return join(str(root), posixpath.normpath(text))
        return os.path.normpath(os.path.join(root, text))
    if scheme[1].lower() != "file":
        try:
            check_address(text)
        except InputError as error:
            raise ValueError(str(error).removesuffix(".")) from error
        return text
    parts = urlsplit(text)
    if parts.netloc not in {"", "localhost"}:
        raise ValueError(f"{text!r} names another machine ({parts.netloc}); give a local path")
    if parts.query or parts.fragment:
        raise ValueError(f"{text!r} is not a valid file address: write '?' as %3F and '#' as %23")
    return os.path.normpath(unquote(parts.path))
