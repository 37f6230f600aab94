"""Writing to disk: complete or absent, never half."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from camgate.errors import InputError


@contextmanager
def atomic_folder(target: str | Path) -> Iterator[Path]:
    """Yield a scratch folder beside `target` that is renamed to it at the end, or removed on any error.

    Args:
        target: must not exist yet, or be an empty folder.

    Raises:
        InputError: the target holds something already, or the disk refuses (full, read-only, no right).
    """
    folder = Path(target)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is not empty; give a new folder, nothing is ever overwritten.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise InputError(f"{folder} cannot be created: {error.strerror or error}.") from error
    try:
        yield scratch
        scratch.chmod(0o755)
        if folder.exists():
            folder.rmdir()
        scratch.rename(folder)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{folder} could not be written: {reason}. Nothing was left behind.") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_text(path: str | Path, text: str) -> Path:
    """Write a file under a temporary name and rename it."""
    file = Path(path)
    scratch = file.with_name(f".{file.name}.tmp")
    try:
        scratch.write_text(text, encoding="utf-8")
        scratch.replace(file)
    except OSError as error:
        raise InputError(f"{file} could not be written: {error.strerror or error}.") from error
    finally:
        scratch.unlink(missing_ok=True)
    return file
