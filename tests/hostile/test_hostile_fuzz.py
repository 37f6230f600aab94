"""Readers of what others wrote: a valid object, or one readable error that names the file; nothing else."""

from __future__ import annotations

import io
import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from camgate.data.images import read_image, read_mask
from camgate.data.sources import load_manifest
from camgate.errors import CamgateError
from camgate.gate.policy import Policy
from camgate.models.spec import ModelSpec

FEW, MANY = 150, 10_000
Reader = Callable[[Path], Any]

text = st.text(max_size=20)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | text
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)


def keyed(known: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    """Mappings whose keys are mostly known to the reader, so that the fuzz gets past the first test."""
    return st.dictionaries(st.sampled_from(known) | text, values, max_size=6)


policies = keyed(tuple(Policy.model_fields))
checks = st.dictionaries(
    st.sampled_from(["accuracy", "invalid_lift", "background_gap", "champion"]) | text,
    st.dictionaries(st.sampled_from(["min", "max", "max_composite_damage"]) | text, scalars, max_size=3)
    | scalars,
    max_size=3,
)
policies |= st.fixed_dictionaries({"checks": checks})
specs = keyed(tuple(ModelSpec.model_fields))


def survives(folder: Path, name: str, content: bytes, read: Reader) -> Any:
    """Read these bytes as a file of that name; an error must be ours and name the file."""
    path = folder / name
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return read(path)
        except CamgateError as error:
            told = str(error)
    assert name in told
    assert len(told) < 20_000
    return None


def fuzzed(count: int) -> Callable[[Any], Any]:
    return settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


def both(test: Callable[..., None]) -> Callable[..., None]:
    """Some cases in each run, 10,000 in the long one."""
    sizes = [FEW, pytest.param(MANY, marks=[pytest.mark.long, pytest.mark.timeout(1800)])]
    return pytest.mark.parametrize("count", sizes)(test)


@both
def test_a_policy_of_any_text(tmp_path: Path, count: int) -> None:
    @fuzzed(count)
    @example("a: 2020-99-99")
    @example("&a [*a]")
    @example("{" * 3000)
    @example("[" * 3000)
    @example("x: !!python/object/apply:os.system [true]")
    @example("checks: {accuracy: {min: .nan}}")
    @example("? {a: b}\n: c")
    @example("checks: &c {accuracy: *c}")
    @example("\x00")
    @given(st.text(alphabet="{}[]&*!|>-:?,#%@ \n\tab01.", max_size=60) | st.text(max_size=60))
    def check(content: str) -> None:
        survives(tmp_path, "policy.yaml", content.encode("utf-8", "surrogatepass"), Policy.load)

    check()


@both
def test_a_policy_of_any_mapping_is_itself_again(tmp_path: Path, count: int) -> None:
    @fuzzed(count)
    @given(policies)
    def check(content: dict[str, Any]) -> None:
        policy = survives(tmp_path, "policy.yaml", yaml.safe_dump(content).encode("utf-8"), Policy.load)
        if policy is not None:
            again = Policy.parse(yaml.safe_load(policy.to_yaml()))
            assert again == policy
            assert again.digest() == policy.digest()

    check()


@both
def test_a_spec_of_any_mapping(tmp_path: Path, count: int) -> None:
    @fuzzed(count)
    @given(specs.map(json.dumps) | text | st.sampled_from(["[" * 100_000, '{"classes": NaN}', "\ufeff{}"]))
    def check(content: str) -> None:
        survives(tmp_path, "spec.json", content.encode("utf-8", "surrogatepass"), ModelSpec.read)

    check()


@both
def test_a_manifest_of_any_text(tmp_path: Path, count: int) -> None:
    cells = st.text(alphabet='ab,;"\n\r\t\x00../\\é0', max_size=8) | st.text(max_size=8)
    rows = st.lists(st.lists(cells, max_size=4), max_size=5)
    columns = st.sampled_from(["image", "label", "region", "split", "group"]) | cells

    @fuzzed(count)
    @example(["image", "label"], [["../../etc/passwd", "a"]])
    @example(["image", "label"], [["\x00", "a"]])
    @example(["image", "label"], [["a" * 5000, "a"]])
    @example(["image", "image"], [["a", "b"]])
    @given(st.lists(columns, max_size=5), rows)
    def check(header: list[str], body: list[list[str]]) -> None:
        table = "\n".join(",".join(row) for row in [header, *body])
        survives(tmp_path, "data.csv", table.encode("utf-8", "surrogatepass"), load_manifest)

    check()


def pictures() -> list[bytes]:
    """A small one of each format."""
    found = []
    for kind in ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP"):
        stream = io.BytesIO()
        Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(stream, kind)
        found.append(stream.getvalue())
    return found


@both
@pytest.mark.parametrize("read", [read_mask, read_image])
def test_a_damaged_picture(tmp_path: Path, count: int, read: Reader) -> None:
    @fuzzed(count)
    @given(
        st.sampled_from(pictures()),
        st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=6),
        st.integers(0, 2000),
    )
    def check(content: bytes, changes: list[tuple[int, int]], end: int) -> None:
        damaged = bytearray(content)
        for place, value in changes:
            damaged[place % len(damaged)] = value
        if end < len(damaged):
            del damaged[end:]
        found = survives(tmp_path, "mask.png", bytes(damaged), read)
        assert found is None or found.ndim in (2, 3)

    check()


def test_a_decompression_bomb_is_refused_before_it_unfolds(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.png"
    Image.new("1", (30_000, 30_000)).save(bomb)
    assert os.path.getsize(bomb) < 2_000_000
    for read in (read_image, read_mask):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(CamgateError, match=r"bomb\.png"):
                read(bomb)


def test_laughs_by_the_billion_are_refused_quickly(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    path = tmp_path / "laughs.yaml"
    path.write_text("\n".join([*lines, "checks: *a9"]))
    with pytest.raises(CamgateError, match=r"laughs\.yaml") as raised:
        Policy.load(path)
    assert len(str(raised.value)) < 20_000
