"""Are new data like the old? Each test against its own formula, and against data that differ in one thing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import stats

from camgate.data.manifest import validate_manifest
from camgate.errors import InputError
from camgate.operate.drift import DriftLimits, compare_data, drift_table, holm, stability_index
from camgate.operate.options import read_options
from camgate.operate.statistics import PICTURE_NUMBERS, DataStatistics, data_statistics, picture_numbers


def write(
    folder: Path,
    *,
    counts: dict[str, int],
    seed: int,
    gain: float = 1.0,
    size: int = 24,
    missing: float = 0.0,
    group: int = 1,
) -> pd.DataFrame:
    """Noise of some brightness, a share of it without regions."""
    chance = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    Image.fromarray(np.full((size, size), 255, dtype=np.uint8)).save(folder / "mask.png")
    rows = []
    for label, count in counts.items():
        for number in range(count):
            level = chance.normal(110, 12)
            pixels = np.clip(gain * chance.normal(level, 20, (size, size, 3)), 0, 255).astype(np.uint8)
            file = folder / f"{label}-{number}.png"
            Image.fromarray(pixels).save(file)
            region = None if chance.random() < missing else str(folder / "mask.png")
            rows.append(
                {"image": str(file), "label": label, "region": region, "group": f"{label} {number // group}"}
            )
    return validate_manifest(pd.DataFrame(rows))


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> DataStatistics:
    folder = tmp_path_factory.mktemp("reference") / "data"
    return data_statistics(write(folder, counts={"cat": 60, "dog": 60}, seed=0))


def drifted(tmp_path: Path, reference: DataStatistics, **options: object) -> set[str]:
    new = data_statistics(write(tmp_path / "new", **{"counts": {"cat": 60, "dog": 60}, "seed": 1} | options))
    return {test.name for test in compare_data(new, reference).tests if test.drifted}


def test_fresh_images_of_the_same_kind_have_not_drifted(tmp_path: Path, reference: DataStatistics) -> None:
    assert drifted(tmp_path, reference) == set()


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"counts": {"cat": 100, "dog": 20}}, {"label_balance"}),
        ({"gain": 0.6}, {"brightness", "contrast", "sharpness"}),
        ({"missing": 0.5}, {"missing_regions cat", "missing_regions dog"}),
    ],
)
def test_what_changed_is_what_is_named(
    tmp_path: Path, reference: DataStatistics, change: dict[str, object], wanted: set[str]
) -> None:
    assert drifted(tmp_path, reference, **change) == wanted


def test_size_is_told_and_does_not_leak_into_brightness(tmp_path: Path, reference: DataStatistics) -> None:
    found = drifted(tmp_path, reference, size=48)
    assert {"width", "height"} <= found
    assert not found & {"brightness", "label_balance"}


def test_a_significant_but_small_difference_is_no_drift(reference: DataStatistics) -> None:
    many = reference.model_copy(update={"labels": {"cat": 52000, "dog": 48000}, "groups": 100000})
    even = reference.model_copy(update={"labels": {"cat": 50000, "dog": 50000}, "groups": 100000})
    (balance,) = [test for test in compare_data(many, even).tests if test.name == "label_balance"]
    assert balance.p_corrected < 1e-6
    assert not balance.drifted


def test_new_and_lost_labels_are_drift(reference: DataStatistics) -> None:
    new = reference.model_copy(update={"labels": {"cat": 60, "fox": 60}})
    found = compare_data(new, reference, DriftLimits(on_drift="block"))
    assert (found.new_labels, found.gone_labels, found.blocks) == (("fox",), ("dog",), True)
    assert "labels that are new: fox; labels that are gone: dog" in found.sentence


def test_without_a_reference_nothing_is_compared(reference: DataStatistics) -> None:
    found = compare_data(reference, None, DriftLimits(on_drift="block"))
    assert (found.status, found.tests, found.blocks) == ("no_reference", (), False)
    assert drift_table(found).startswith("There are no data to compare with")


def test_only_one_image_of_a_group_counts(tmp_path: Path) -> None:
    table = write(tmp_path / "grouped", counts={"cat": 40, "dog": 40}, seed=2, group=4)
    found = data_statistics(table)
    assert (found.rows, found.groups, found.labels) == (80, 20, {"cat": 10, "dog": 10})
    assert len(found.pictures["brightness"]) == 20
    assert data_statistics(table) == found


def test_an_image_that_cannot_be_read_is_counted(tmp_path: Path) -> None:
    table = write(tmp_path / "broken", counts={"cat": 8}, seed=3)
    Path(str(table["image"][0])).write_bytes(b"no image")
    found = data_statistics(table)
    assert (found.unreadable, len(found.pictures["width"])) == (1, 7)


def test_statistics_survive_json_and_nothing_else_does(reference: DataStatistics) -> None:
    assert DataStatistics.from_json(reference.model_dump_json()) == reference
    with pytest.raises(InputError, match="no statistics of data"):
        DataStatistics.from_json(json.dumps({"rows": 3}))


def test_numbers_of_a_picture() -> None:
    flat = np.full((40, 80, 3), 128, dtype=np.uint8)
    found = dict(zip(PICTURE_NUMBERS, picture_numbers(flat), strict=True))
    assert found == pytest.approx(
        {"width": 80, "height": 40, "brightness": 128 / 255, "contrast": 0, "sharpness": 0, "saturation": 0}
    )
    flat[:, ::2] = (255, 0, 0)
    striped = dict(zip(PICTURE_NUMBERS, picture_numbers(flat), strict=True))
    assert striped["sharpness"] > 1
    assert striped["saturation"] > 0.2


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_by_its_definition(values: list[float]) -> None:
    """The k-th smallest is rejected at a level while all before it are: slowly, level by level."""
    corrected = holm(values)
    order = sorted(range(len(values)), key=lambda index: values[index])
    for level in (0.001, 0.01, 0.05, 0.2):
        rejected = set()
        for rank, index in enumerate(order):
            if values[index] * (len(values) - rank) > level:
                break
            rejected.add(index)
        assert {index for index, p in enumerate(corrected) if p <= level} == rejected


def test_stability_index_by_its_formula() -> None:
    new, old = {"a": 30, "b": 70}, {"a": 50, "b": 50}
    shares = [((30.5 / 101), (50.5 / 101)), ((70.5 / 101), (50.5 / 101))]
    assert stability_index(new, old) == pytest.approx(sum((p - q) * np.log(p / q) for p, q in shares))
    assert stability_index(old, old) == 0


def test_false_alarms_on_data_of_one_source(reference: DataStatistics) -> None:
    """Two halves of one source, two hundred times: the level holds for all tests together."""
    chance = np.random.default_rng(0)
    alarms = 0
    for _ in range(200):
        sides = [
            reference.model_copy(
                update={
                    "labels": {"cat": int(count), "dog": 60 - int(count)},
                    "groups": 60,
                    "pictures": {name: tuple(chance.normal(size=60)) for name in PICTURE_NUMBERS},
                }
            )
            for count in chance.binomial(60, 0.5, 2)
        ]
        alarms += compare_data(*sides, DriftLimits(alpha=0.05, max_psi=0, max_distance=0)).status == "drifted"
    assert alarms <= stats.binom.ppf(0.999, 200, 0.05)


def test_a_misspelt_option_names_the_right_one() -> None:
    with pytest.raises(InputError, match=r"drift\.max_pis: no such option, did you mean 'max_psi'"):
        read_options(DriftLimits, {"max_pis": 1}, "drift")
    with pytest.raises(InputError, match=r"drift\.alpha: "):
        read_options(DriftLimits, {"alpha": 2}, "drift")
