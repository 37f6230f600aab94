"""Files by address: complete or absent, on every kind of storage."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

from camgate.data.sources import load_manifest
from camgate.errors import InputError
from camgate.scenes.dataset import write_scenes
from camgate.storage import check_new, exists, is_remote, join, local_folder, put_file, read_bytes


class Server(LocalFileSystem):
    """A store that shows a file while it is being written, as SFTP and shared folders do."""

    protocol = ("halfway",)
    fail: ClassVar[bool] = False
    seen: ClassVar[list[str]] = []

    @classmethod
    def _strip_protocol(cls, path: Any) -> str:
        return str(LocalFileSystem._strip_protocol(str(path).removeprefix("halfway://")))

    def put_file(self, lpath: str, rpath: str, **given: Any) -> None:
        content = Path(lpath).read_bytes()
        Path(rpath).write_bytes(content[: len(content) // 2])
        self.seen.append(rpath)
        if self.fail:
            raise ConnectionError("the line is dead")
        Path(rpath).write_bytes(content)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    fsspec.register_implementation("halfway", Server, clobber=True)
    monkeypatch.setattr(Server, "fail", False)
    monkeypatch.setattr(Server, "seen", [])
    return f"halfway://{tmp_path}/far"


def test_a_file_gets_its_name_when_it_is_complete(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def put(text: str) -> None:
        (tmp_path / "near").write_text(text)
        put_file(tmp_path / "near", f"{server}/deep/file")

    put("first")
    assert read_bytes(f"{server}/deep/file") == b"first"
    put("second")
    assert read_bytes(f"{server}/deep/file") == b"second"
    assert not any(path.endswith("/file") for path in Server.seen)
    monkeypatch.setattr(Server, "fail", True)
    with pytest.raises(InputError, match=r"deep/file could not be written: the line is dead"):
        put("third")
    assert read_bytes(f"{server}/deep/file") == b"second"
    assert [path.name for path in (tmp_path / "far" / "deep").iterdir()] == ["file"]


def test_a_local_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "near").write_text("text")
    (tmp_path / "taken").mkdir()
    with pytest.raises(InputError, match="taken could not be written"):
        put_file(tmp_path / "near", str(tmp_path / "taken"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["taken"]


def test_file_urls_are_paths(tmp_path: Path) -> None:
    folder = tmp_path / "with space"
    rows = write_scenes(folder / "scenes", per_class=1, seed=1, size=32, coco=False)
    rows.to_csv(folder / "data.csv", index=False)
    url = f"file://{str(folder).replace(' ', '%20')}"
    assert not is_remote(url)
    assert load_manifest(f"{url}/data.csv")["image"].tolist() == rows["image"].tolist()
    assert exists(f"{url}/data.csv")
    assert not exists(f"{url}/none")
    (tmp_path / "near").write_text("text")
    put_file(tmp_path / "near", join(url, "out/near"))
    assert (folder / "out" / "near").read_text() == "text"
    with pytest.raises(InputError, match="not empty"):
        check_new(f"{url}/out")
    with local_folder(f"{url}/out") as found:
        assert found == folder / "out"
