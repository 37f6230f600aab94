"""Files by address: local paths, and every URL that fsspec knows (`s3://`, `gs://`, `abfs://`, `memory://`)."""

from __future__ import annotations

import os
import posixpath
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec

from camgate.errors import InputError

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+)://")


def is_remote(address: Any) -> bool:
    """Whether it is a URL, other than `file://`."""
    scheme = _SCHEME.match(address) if isinstance(address, str) else None
    return scheme is not None and scheme[1].lower() != "file"


def join(folder: str | os.PathLike[str], name: str) -> str:
    """The address of a file in a folder."""
    text = os.fspath(folder)
    return posixpath.join(text, name) if is_remote(text) else os.path.join(text, name)


def folder_of(address: str) -> str:
    """The folder of a URL."""
    return address.rsplit("/", 1)[0]


def check_address(address: str) -> None:
    """Refuse a URL that nothing here can open.

    Raises:
        InputError: unknown scheme, or the package that reads it is missing; says which.
    """
    _filesystem(address)


def read_bytes(address: str | os.PathLike[str]) -> bytes:
    """The content of a file.

    Raises:
        FileNotFoundError: it is not there.
        OSError: it cannot be read.
        InputError: nothing here can open such a URL.
    """
    text = os.fspath(address)
    if not is_remote(text):
        return Path(text).read_bytes()
    filesystem, path = _filesystem(text)
    try:
        return bytes(filesystem.cat_file(path))
    except OSError:
        raise
    except Exception as error:  # each kind of storage raises its own
        raise OSError(f"{type(error).__name__}: {error}") from error


def put_file(local: Path, address: str) -> None:
    """Move a finished local file to its address: there it is complete or absent.

    Object stores show an object only when all of it has arrived. Elsewhere the file is copied under a
    temporary name and renamed.

    Raises:
        InputError: the storage refuses.
    """
    try:
        if is_remote(address):
            filesystem, path = _filesystem(address)
            filesystem.makedirs(filesystem._parent(path), exist_ok=True)
            filesystem.put_file(str(local), path)
            local.unlink()
            return
        target = Path(address)
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            shutil.move(local, scratch)
            scratch.replace(target)
        finally:
            scratch.unlink(missing_ok=True)
    except InputError:
        raise
    except Exception as error:  # each kind of storage raises its own
        raise InputError(f"{address} could not be written: {error}.") from error


def check_new(address: str) -> None:
    """Refuse a folder that holds something.

    Raises:
        InputError: it does, or is a file.
    """
    if is_remote(address):
        filesystem, path = _filesystem(address)
        taken = bool(filesystem.exists(path) and filesystem.find(path))
    else:
        folder = Path(address)
        taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    if taken:
        raise InputError(f"{address} is not empty; give a new folder, nothing is ever overwritten.")


@contextmanager
def local_folder(address: str | os.PathLike[str]) -> Iterator[Path]:
    """A folder as a path: itself, or a copy of a remote one; files new in the copy are written back.

    Raises:
        InputError: the storage refuses.
    """
    text = os.fspath(address)
    if not is_remote(text):
        yield Path(text)
        return
    filesystem, path = _filesystem(text)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "folder")
        held: set[Path] = set()
        try:
            for name in filesystem.find(path):
                local = folder / posixpath.relpath(name, path)
                local.parent.mkdir(parents=True, exist_ok=True)
                local.write_bytes(filesystem.cat_file(name))
                held.add(local)
        except FileNotFoundError:
            pass
        except Exception as error:  # each kind of storage raises its own
            raise InputError(f"{text} cannot be read: {error}.") from error
        yield folder
        new = sorted(file for file in folder.rglob("*") if file.is_file() and file not in held)
        # What says that the folder is whole goes last.
        for file in sorted(new, key=lambda file: file.name == "audit.json"):
            put_file(file, join(text, file.relative_to(folder).as_posix()))


def _filesystem(address: str) -> tuple[Any, str]:
    try:
        filesystem, path = fsspec.core.url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise InputError(
            f"{address!r} is a remote address that cannot be opened here ({error}); install what reads it "
            "(s3:// needs s3fs, gs:// gcsfs, abfs:// adlfs), or download the file and give its path."
        ) from error
    return filesystem, path
