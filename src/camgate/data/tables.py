"""Bytes of a CSV or Parquet file to a table of cells."""

from __future__ import annotations

import csv
import io

import pandas as pd

from camgate.errors import InputError, ManifestError


def parse_csv(content: bytes, source: str) -> tuple[pd.DataFrame, list[int]]:
    """Read CSV: every cell is text, nothing is guessed.

    Python's own reader rather than pandas': it knows each row's line, refuses rows of another length
    instead of shifting them, and leaves `NA`, `null` and `007` alone.

    Args:
        content: the file's bytes, UTF-8 with or without byte order mark, separated by commas.
        source: the file's name, for messages.

    Returns:
        The table, and the line that each row starts on (header = 1).

    Raises:
        InputError: no UTF-8, or no CSV.
        ManifestError: no header, or rows of another length than the header.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{source}: not a UTF-8 text file (byte 0x{content[error.start]:02x} in line {line}); "
            "save it as 'CSV UTF-8'."
        ) from error
    if "\0" in text:
        raise InputError(f"{source}: holds NUL bytes, so it is not a CSV file; save it as 'CSV UTF-8'.")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True)
    header: list[str] = []
    cells: list[list[str]] = []
    rows: list[int] = []
    faults: list[str] = []
    start = 1
    try:
        for record in reader:
            if not any(cell.strip() for cell in record):
                pass  # blank lines keep their number but are no rows
            elif not header:
                header = [name.strip() for name in record]
            elif len(record) != len(header):
                faults.append(f"row {start}: {len(record)} cells, but the header has {len(header)}")
            else:
                cells.append(record)
                rows.append(start)
            start = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{source}: not a CSV file ({error}, line {reader.line_num}).") from error
    if not header:
        raise ManifestError(source, ["the file is empty; a header line with `image,label` is expected"])
    if len(header) == 1:
        for mark, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
            if mark in header[0]:
                raise InputError(f"{source}: the cells seem to be separated by {name}; save it with commas.")
    if faults:
        raise ManifestError(source, faults)
    # A column without a name is what DataFrame.to_csv writes for its index.
    named = [position for position, name in enumerate(header) if name]
    frame = pd.DataFrame([[row[i] for i in named] for row in cells], dtype=object)
    frame = frame.reindex(columns=range(len(named)))
    frame.columns = pd.Index([header[i] for i in named])
    return frame, rows


def parse_parquet(content: bytes, source: str) -> pd.DataFrame:
    """Read Parquet; a named index becomes a column.

    Args:
        content: the file's bytes.
        source: the file's name, for messages.

    Raises:
        InputError: not Parquet, or damaged.
    """
    try:
        # Nullable types: a missing cell must not turn a column of integers into floats ("0" into "0.0").
        frame = pd.read_parquet(io.BytesIO(content), engine="pyarrow", dtype_backend="numpy_nullable")
    except Exception as error:  # pyarrow raises several kinds for broken files
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{source}: not a Parquet file, or a damaged one ({reason}).") from error
    named = [name for name in frame.index.names if name is not None]
    return frame.reset_index(level=named) if named else frame
