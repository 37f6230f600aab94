from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_length_limit, _validate_metric_name, _validate_param_name

from camgate.registry import names

TEXT = st.text(max_size=300)


@given(TEXT)
def test_mlflow_takes_every_key(name: str) -> None:
    key = names.key(name)
    _validate_metric_name(key)
    _validate_param_name(key)
    _validate_length_limit("key", names.LONGEST_KEY, key)
    assert key.isascii()
    assert ":" not in key  # refused on Windows


@given(st.lists(TEXT, unique=True, max_size=8))
def test_different_names_have_different_keys(found: list[str]) -> None:
    assert len({names.key(name) for name in found}) == len(found)


def test_a_plain_name_stays() -> None:
    assert names.key("evaluation/recall/dog_walker 2.0-b") == "evaluation/recall/dog_walker 2.0-b"


def test_hostile_class_names_stay_apart() -> None:
    hostile = ["a/../b", "a//b", "/a/b", "a/b/", "a\nb", "a:b", "äö", "a/./b", "", ".", "..", "x" * 400]
    keys = {names.key(f"evaluation/recall/{name}") for name in hostile}
    assert len(keys) == len(hostile)
    assert all(key.startswith("evaluation/recall/") for key in keys)


def test_only_finite_numbers_are_metrics() -> None:
    values = {"a": 1, "b": math.nan, "c": math.inf, "d": None, "e": "text", "f": True}
    assert names.metrics(values, "x/") == {"x/a": 1.0, "x/f": 1.0}


def test_parameters_are_flat_and_cut() -> None:
    kept = names.parameters({"a": {"b": [1, 2], "c": {}}, "long": "x" * 7000, "n": None}, "p.")
    assert kept["p.a.b"] == "[1, 2]"
    assert kept["p.a.c"] == "{}"
    assert kept["p.n"] == "null"
    assert len(kept["p.long"]) == names.LONGEST_PARAMETER
    assert kept["p.long"].endswith("...")
