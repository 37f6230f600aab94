"""Base of the materializers that keep a folder of plain files."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import Any, ClassVar

from zenml.artifact_stores.base_artifact_store import BaseArtifactStore
from zenml.materializers.base_materializer import BaseMaterializer

from camgate.errors import InputError

CONTENT = "content"


class FolderMaterializer(BaseMaterializer):
    """Keeps what `write` puts into a local folder below `<uri>/content`, on any artifact store.

    ZenML's database holds the SHA-256 of the files (`content_hash`); files that were changed in the store
    afterwards are refused.
    """

    SKIP_REGISTRATION: ClassVar[bool] = True

    def __init__(self, uri: str, artifact_store: BaseArtifactStore | None = None) -> None:
        super().__init__(uri, artifact_store)
        self._saved_hash: str | None = None

    def write(self, data: Any, folder: Path) -> None:
        """Write the artifact's files into an empty local folder."""
        raise NotImplementedError

    def read(self, folder: Path, data_type: type[Any]) -> Any:
        """Read what `write` wrote."""
        raise NotImplementedError

    def save(self, data: Any) -> None:
        """Write the files and copy them to the artifact store."""
        with tempfile.TemporaryDirectory(prefix="camgate-") as scratch:
            folder = Path(scratch) / CONTENT
            folder.mkdir()
            self.write(data, folder)
            self._saved_hash = folder_digest(folder)
            self._upload(folder, f"{self.uri}/{CONTENT}")

    def load(self, data_type: type[Any]) -> Any:
        """Copy the files from the artifact store, check them and read them.

        Raises:
            InputError: the files are not those that were saved.
        """
        with tempfile.TemporaryDirectory(prefix="camgate-") as scratch:
            folder = Path(scratch) / CONTENT
            self._download(f"{self.uri}/{CONTENT}", folder)
            if not self._vouched_for(folder) and self.expected_content_hash:
                raise InputError(
                    f"{self.uri}: the files in the artifact store are not those that the step saved (their "
                    "SHA-256 differs from the one in ZenML's database). Run the step again."
                )
            return self.read(folder, data_type)

    def compute_content_hash(self, data: Any) -> str | None:
        """SHA-256 over the files; ZenML calls this right after `save`."""
        return self._saved_hash

    def _vouched_for(self, folder: Path) -> bool:
        return self.expected_content_hash == folder_digest(folder)

    def _upload(self, folder: Path, uri: str) -> None:
        store = self.artifact_store
        store.makedirs(uri)
        for path in sorted(folder.iterdir()):
            if path.is_dir():
                self._upload(path, f"{uri}/{path.name}")
                continue
            with path.open("rb") as source, store.open(f"{uri}/{path.name}", "wb") as target:
                shutil.copyfileobj(source, target)

    def _download(self, uri: str, folder: Path) -> None:
        store = self.artifact_store
        folder.mkdir()
        for entry in store.listdir(uri):
            name = entry.decode() if isinstance(entry, bytes) else str(entry)
            if store.isdir(f"{uri}/{name}"):
                self._download(f"{uri}/{name}", folder / name)
                continue
            with store.open(f"{uri}/{name}", "rb") as source, (folder / name).open("wb") as target:
                shutil.copyfileobj(source, target)


def folder_digest(folder: Path) -> str:
    """SHA-256 (hex) over the sorted (path, SHA-256) of all files below `folder`."""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{path.relative_to(folder).as_posix()}\0{digest}\n".encode())
    return total.hexdigest()
