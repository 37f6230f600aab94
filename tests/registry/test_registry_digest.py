from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import yaml

from camgate.errors import ModelError
from camgate.registry.digest import folder_digest

MLMODEL = {
    "flavors": {"python_function": {"code": "code"}},
    "signature": {"outputs": "[]"},
    "run_id": "r1",
    "utc_time_created": "2026-01-01",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "model"
    (root / "code" / "pkg").mkdir(parents=True)
    (root / "MLmodel").write_text(yaml.safe_dump(MLMODEL))
    (root / "code" / "pkg" / "a.py").write_text("x = 1\n")
    (root / "weights.bin").write_bytes(b"\0\1")
    return root


def test_is_the_definition_written_out(folder: Path) -> None:
    reduced = {"flavors": MLMODEL["flavors"], "signature": MLMODEL["signature"]}
    parts = {
        "MLmodel": json.dumps(reduced, sort_keys=True, separators=(",", ":")).encode(),
        "code/pkg/a.py": b"x = 1\n",
        "weights.bin": b"\0\1",
    }
    total = hashlib.sha256()
    for path in sorted(parts):
        total.update(f"{path}\0{hashlib.sha256(parts[path]).hexdigest()}\n".encode())
    assert folder_digest(folder) == total.hexdigest()


def test_time_place_and_download_notes_do_not_count(folder: Path) -> None:
    before = folder_digest(folder)
    (folder / "MLmodel").write_text(yaml.safe_dump(MLMODEL | {"run_id": "r2", "model_id": "m-1"}))
    (folder / "registered_model_meta").write_text("model_name: x\nmodel_version: '3'\n")
    assert folder_digest(folder) == before


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("weights.bin", b"\0\2"),
        ("code/pkg/a.py", b"x = 2\n"),
        ("code/pkg/b.py", b""),
        ("code/pkg/__pycache__/a.cpython-311.pyc", b"planted"),
        ("code/registered_model_meta", b"not the one that MLflow writes"),
        ("MLmodel", yaml.safe_dump(MLMODEL | {"flavors": {"python_function": {"code": "c"}}}).encode()),
        ("MLmodel", yaml.safe_dump(MLMODEL | {"signature": None}).encode()),
    ],
)
def test_every_file_that_decides_counts(folder: Path, path: str, content: bytes) -> None:
    before = folder_digest(folder)
    (folder / path).parent.mkdir(exist_ok=True)
    (folder / path).write_bytes(content)
    assert folder_digest(folder) != before


def test_a_moved_file_counts(folder: Path) -> None:
    before = folder_digest(folder)
    (folder / "weights.bin").rename(folder / "weights2.bin")
    assert folder_digest(folder) != before


def test_a_linked_folder_counts(folder: Path, tmp_path: Path) -> None:
    before = folder_digest(folder)
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "c.py").write_text("x = 3\n")
    (folder / "code" / "linked").symlink_to(tmp_path / "evil")
    assert folder_digest(folder) != before


def test_no_logged_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no MLmodel"):
        folder_digest(tmp_path)
    (tmp_path / "MLmodel").write_text("[")
    with pytest.raises(ModelError, match="cannot be read"):
        folder_digest(tmp_path)
