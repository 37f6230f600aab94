"""Which rows are audited and which are held out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camgate.data.manifest import audited_rows, training_rows
from camgate.errors import InputError


def frame(labels: list[str], **columns: object) -> pd.DataFrame:
    count = len(labels)
    names = {"image_id": [f"i{n}" for n in range(count)], "image": [f"/{n}.png" for n in range(count)]}
    return pd.DataFrame(names | {"label": labels} | columns)


def test_audited_rows_are_the_test_rows() -> None:
    manifest = frame(["a", "b", "a"], split=["test", "train", "test"], group=["g", "h", "g"])
    rows, warnings = audited_rows(manifest)
    assert rows["image_id"].tolist() == ["i0", "i2"]
    assert rows.index.tolist() == [0, 1]
    assert rows["group"].tolist() == ["g", "g"]
    assert warnings == ()


def test_without_split_and_group_there_are_warnings() -> None:
    manifest = frame(["a", "b"])
    rows, warnings = audited_rows(manifest)
    assert rows["group"].tolist() == ["i0", "i1"]
    assert len(warnings) == 2
    assert "no column `split`" in warnings[0]
    assert "no column `group`" in warnings[1]
    assert "group" not in manifest


@pytest.mark.parametrize("blank", ["", None, float("nan")])
def test_blank_groups_stand_alone(blank: object) -> None:
    rows, warnings = audited_rows(frame(["a", "b", "a"], split="test", group=["g", blank, blank]))
    assert rows["group"].tolist() == ["g", "i1", "i2"]
    assert "2 row(s) have no `group`" in warnings[0]


def test_no_test_row_lists_what_there_is() -> None:
    with pytest.raises(
        InputError, match=r"no row.*'test'.*Test \(2\), \(blank\) \(1\)".replace("no row", "No row")
    ):
        audited_rows(frame(["a", "b", "b"], split=["Test", "Test", ""]))


@pytest.mark.parametrize("name", ["validation", "val"])
def test_given_validation_rows_are_used(name: str) -> None:
    manifest = frame(["a", "b", "a", "b"], split=["train", "train", name, "test"])
    train, validation = training_rows(manifest)
    assert train["image_id"].tolist() == ["i0", "i1"]
    assert validation["image_id"].tolist() == ["i2"]


def test_rows_of_other_splits_never_train() -> None:
    manifest = frame(["a", "b"] * 50, split=["train"] * 60 + ["test"] * 30 + [""] * 10)
    train, validation = training_rows(manifest)
    numbers = {int(name[1:]) for name in [*train["image_id"], *validation["image_id"]]}
    assert numbers == set(range(60))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), groups=st.integers(20, 60), rare=st.floats(0.1, 0.5))
def test_whole_groups_are_held_out_about_15_percent(seed: int, groups: int, rare: float) -> None:
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 6, groups)
    group = np.repeat([f"g{n}" for n in range(groups)], sizes)
    labels = np.where(random.random(len(group)) < rare, "rare", "common").tolist()
    labels[0], labels[-1] = "rare", "common"
    manifest = frame(labels, group=group)
    train, validation = training_rows(manifest, seed=seed)
    assert set(train["group"]).isdisjoint(validation["group"])
    assert sorted([*train["image_id"], *validation["image_id"]]) == sorted(manifest["image_id"])
    assert set(train["label"]) == set(labels)
    assert 0.05 <= len(validation) / len(manifest) <= 0.3


def test_classes_are_held_out_in_equal_shares() -> None:
    manifest = frame(["a"] * 800 + ["b"] * 200)
    train, validation = training_rows(manifest, seed=3)
    counts = validation["label"].value_counts()
    assert abs(counts["a"] / 800 - 0.15) < 0.01
    assert abs(counts["b"] / 200 - 0.15) < 0.01
    assert len(train) + len(validation) == 1000


def test_a_rare_class_is_held_out_too() -> None:
    _, validation = training_rows(frame(["a"] * 100 + ["b"] * 2))
    assert validation["label"].value_counts()["b"] == 1


def test_no_class_is_held_out_whole() -> None:
    # Group g0 holds just the right share of 40 classes, and all there is of one more.
    labels = [f"c{n}" for n in range(40) for _ in range(7)] + ["only"] * 3
    groups = [f"g{n}" for _ in range(40) for n in range(7)] + ["g0"] * 3
    for seed in range(10):
        train, validation = training_rows(frame(labels, group=groups), seed=seed)
        assert set(train["label"]) == set(labels)
        assert len(validation) == 40


def test_held_out_rows_follow_the_seed() -> None:
    manifest = frame(["a", "b"] * 100)
    first, again, other = (training_rows(manifest, seed=seed)[1]["image_id"].tolist() for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_a_group_named_like_an_ungrouped_row_stays_apart() -> None:
    manifest = frame(["a", "b"] * 10, group=["0"] * 2 + [""] * 18)
    train, validation = training_rows(manifest)
    assert not {"i0"} & set(validation["image_id"]) or {"i0", "i1"} <= set(validation["image_id"])
    assert len(train) + len(validation) == 20


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (frame(["a", "b"], split="test"), r"No row.*'train'"),
        (frame(["a", "a"]), r"All 2 training rows have the label 'a'"),
        (frame(["a", "b", "a"], group="one"), r"1 group\(s\) in 3 rows"),
        (frame(["a", "b"]), r"No validation rows can be held out"),
    ],
)
def test_impossible_training_rows(manifest: pd.DataFrame, message: str) -> None:
    with pytest.raises(InputError, match=message):
        training_rows(manifest)
