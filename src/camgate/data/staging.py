"""Remote files beside the process, so that each is read once: for its digest and for its pixels."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from camgate.data.images import UnreadableImage
from camgate.data.many_files import for_each_file
from camgate.data.rle import is_region_cell
from camgate.errors import InputError
from camgate.storage import is_remote, read_bytes

_COLUMNS = ("image", "region")


def staged(manifest: pd.DataFrame, rows: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, pd.DataFrame]]:
    """Groups of rows whose images and masks are local files until the next group is asked for.

    Args:
        manifest: validated rows.
        rows: positions in it, `(n,)`.
        size: rows of a group, >= 1. Rows without a remote file are one group: nothing is copied.

    Yields:
        Positions, and their rows with addresses of local copies in place of remote ones.

    Raises:
        UnreadableImage: a remote file cannot be read.
    """
    wanted = manifest.iloc[rows]
    remote = any(_remote(cell) for name in _COLUMNS for cell in wanted[name])
    step = size if remote else max(len(rows), 1)
    for start in range(0, len(rows), step):
        group = wanted.iloc[start : start + step]
        with tempfile.TemporaryDirectory() as folder:
            yield rows[start : start + step], _copied(group, Path(folder)) if remote else group


def _copied(group: pd.DataFrame, folder: Path) -> pd.DataFrame:
    addresses = sorted({str(cell) for name in _COLUMNS for cell in group[name] if _remote(cell)})
    names = [f"{number}{PurePosixPath(text).suffix}" for number, text in enumerate(addresses)]

    def copy(pair: tuple[str, str]) -> str:
        address, name = pair
        try:
            (folder / name).write_bytes(read_bytes(address))
        except (OSError, InputError) as error:
            raise UnreadableImage(f"{address}: cannot be read ({error}).") from error
        return str(folder / name)

    pairs = list(zip(addresses, names, strict=True))
    copies = dict(zip(addresses, for_each_file(copy, pairs), strict=True))
    near = group.copy()
    for name in _COLUMNS:
        near[name] = pd.Series([copies.get(cell, cell) for cell in group[name]], group.index, dtype=object)
    return near


def _remote(cell: object) -> bool:
    return is_remote(cell) and not is_region_cell(cell)
