"""Files by address: local paths, and every URL that fsspec knows (`s3://`, `gs://`, `abfs://`, `memory://`)."""

from __future__ import annotations

import os
import posixpath
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import fsspec

from camgate.errors import InputError

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+)://")
_WHOLE_OBJECTS = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "oci", "memory"})
"""Schemes whose files appear only when all of them has arrived, and whose folders need not be made."""
_UNFINISHED = ".unfinished"
"""In a remote folder from before its first file is written until after its last."""


def is_remote(address: Any) -> bool:
    """Whether it is a URL, other than `file://`."""
    scheme = _SCHEME.match(address) if isinstance(address, str) else None
    return scheme is not None and scheme[1].lower() != "file"


def local_path(address: str | os.PathLike[str]) -> Path:
    """The path that no URL, or a `file://` URL, names."""
    text = os.fspath(address)
    return Path(unquote(urlsplit(text).path) if _SCHEME.match(text) else text)


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
        return local_path(text).read_bytes()
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
    with _refusals(f"{address} could not be written"):
        if is_remote(address):
            _upload(local, address)
            local.unlink()
            return
        target = local_path(address)
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = target.with_name(_scratch_name(target.name))
        try:
            shutil.move(local, scratch)
            scratch.replace(target)
        finally:
            scratch.unlink(missing_ok=True)


def _upload(local: Path, address: str) -> None:
    filesystem, path = _filesystem(address)
    scheme = _SCHEME.match(address)
    if scheme is not None and scheme[1].lower() in _WHOLE_OBJECTS:
        # No folder is made: s3fs would make the bucket, too, where its name is misspelt.
        filesystem.put_file(str(local), path)
        return
    folder, name = posixpath.split(path)
    filesystem.makedirs(folder, exist_ok=True)
    scratch = posixpath.join(folder, _scratch_name(name))
    try:
        filesystem.put_file(str(local), scratch)
        filesystem.mv(scratch, path)
    except BaseException:
        if filesystem.exists(scratch):
            filesystem.rm_file(scratch)
        raise


def _scratch_name(name: str) -> str:
    """Of its own even where several machines write into one folder."""
    return f".{name}.{uuid.uuid4().hex}.tmp"


def exists(address: str | os.PathLike[str]) -> bool:
    """Whether there is such a file or folder.

    Raises:
        InputError: the storage refuses.
    """
    text = os.fspath(address)
    if not is_remote(text):
        return local_path(text).exists()
    filesystem, path = _filesystem(text)
    with _refusals(f"{text} cannot be read"):
        filesystem.invalidate_cache()  # another machine may have written since
        return bool(filesystem.exists(path))


def check_new(address: str) -> None:
    """Refuse a folder that holds something; what an upload that was cut off has left counts as nothing.

    Raises:
        InputError: it does, or is a file.
    """
    if is_remote(address):
        held, unfinished = _files(address)
        taken = bool(held) and not unfinished
    else:
        folder = local_path(address)
        taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    if taken:
        raise InputError(f"{address} is not empty; give a new folder, nothing is ever overwritten.")


@contextmanager
def local_folder(address: str | os.PathLike[str]) -> Iterator[Path]:
    """A folder as a path: itself, or a copy of a remote one; files new in the copy are written back.

    A new remote folder is complete, or known to be unfinished: it then reads as an empty one, and whoever
    writes next begins anew.

    Raises:
        InputError: the storage refuses.
    """
    text = os.fspath(address)
    if not is_remote(text):
        yield local_path(text)
        return
    filesystem, path = _filesystem(text)
    files, unfinished = _files(text)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "folder")
        held: set[Path] = set()
        with _refusals(f"{text} cannot be read"):
            for name in () if unfinished else files:
                local = folder / posixpath.relpath(name, path)
                local.parent.mkdir(parents=True, exist_ok=True)
                local.write_bytes(filesystem.cat_file(name))
                held.add(local)
        yield folder
        new = sorted(file for file in folder.rglob("*") if file.is_file() and file not in held)
        if not new:
            return
        mark = Path(scratch, _UNFINISHED)
        mark.touch()
        if not held:
            put_file(mark, join(text, _UNFINISHED))
        with _refusals(f"{text} could not be written"):
            for name in files if unfinished else ():
                filesystem.rm_file(name)
        # What says that the folder is whole goes last.
        for file in sorted(new, key=lambda file: file.name == "audit.json"):
            put_file(file, join(text, file.relative_to(folder).as_posix()))
        if not held:
            with _refusals(f"{text} could not be written"), suppress(FileNotFoundError):
                filesystem.rm_file(posixpath.join(path, _UNFINISHED))


@contextmanager
def _refusals(said: str) -> Iterator[None]:
    """Whatever a storage raises (each kind has its own), as an error that says what could not be done."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{said}: {error}.") from error


def _files(address: str) -> tuple[list[str], bool]:
    """The files in a remote folder without the mark of an unfinished one, and whether that mark is there."""
    filesystem, path = _filesystem(address)
    with _refusals(f"{address} cannot be read"):
        filesystem.invalidate_cache()  # another machine may have written since
        files = [str(name) for name in filesystem.find(path)] if filesystem.exists(path) else []
    held = [name for name in files if posixpath.basename(name) != _UNFINISHED]
    return held, len(held) < len(files)


def _filesystem(address: str) -> tuple[Any, str]:
    try:
        filesystem, path = fsspec.core.url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise InputError(
            f"{address!r} is a remote address that cannot be opened here ({error}); install what reads it "
            "(s3:// needs s3fs, gs:// gcsfs, abfs:// adlfs), or download the file and give its path."
        ) from error
    return filesystem, path
