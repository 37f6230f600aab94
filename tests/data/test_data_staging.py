"""Remote files are read once, a group at a time."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import numpy as np
import pandas as pd
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from camgate.data.digest import file_digests
from camgate.data.images import UnreadableImage, read_image
from camgate.data.manifest import validate_manifest
from camgate.data.staging import staged
from camgate.scenes.dataset import write_scenes


class Counting(MemoryFileSystem):
    """Counts how often each file is read."""

    protocol = ("counting",)
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    reads: ClassVar[Counter[str]] = Counter()

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + path.removeprefix("counting://").strip("/")

    def cat_file(self, path: str, *given: Any, **named: Any) -> bytes:
        self.reads[path] += 1
        return bytes(super().cat_file(path, *given, **named))


@pytest.fixture
def store() -> Any:
    fsspec.register_implementation("counting", Counting, clobber=True)
    Counting.store.clear()
    Counting.reads.clear()
    return fsspec.filesystem("counting")


def test_each_remote_file_is_read_once(store: Counting, tmp_path: Path) -> None:
    rows = write_scenes(tmp_path / "scenes", per_class=5, seed=1, size=32, coco=False)
    for path in [*rows["image"], *rows["region"].dropna()]:
        store.pipe_file(path, Path(path).read_bytes())
    remote = validate_manifest(
        rows.assign(**{name: "counting:/" + rows[name] for name in ("image", "region")})
    )
    wanted = np.array([3, 0, 11, 7, 19])
    seen: list[int] = []
    for positions, local in staged(remote, wanted, 2):
        assert len(local) <= 2
        near = validate_manifest(rows).iloc[positions]
        assert file_digests(local) == file_digests(near)
        for copy, original in zip(local["image"], near["image"], strict=True):
            np.testing.assert_array_equal(read_image(copy), read_image(original))
        seen += positions.tolist()
        last = local["image"].iloc[0]
    assert seen == wanted.tolist()
    assert not Path(last).exists()
    assert set(Counting.reads.values()) == {1}
    assert len(Counting.reads) == sum(rows.iloc[wanted][name].notna().sum() for name in ("image", "region"))


def test_local_rows_are_one_group_as_they_are(tmp_path: Path) -> None:
    rows = validate_manifest(write_scenes(tmp_path, per_class=2, seed=1, size=32, coco=False))
    ((positions, local),) = staged(rows, np.arange(8), 2)
    assert positions.tolist() == list(range(8))
    pd.testing.assert_frame_equal(local, rows)
    assert list(staged(rows, np.arange(0), 2)) == []


def test_a_remote_file_that_is_missing_is_named(store: Counting) -> None:
    rows = pd.DataFrame({"image": ["counting://b/gone.png"], "region": [None], "label": ["a"]})
    with pytest.raises(UnreadableImage, match=r"counting://b/gone\.png: cannot be read"):
        list(staged(rows, np.arange(1), 8))
