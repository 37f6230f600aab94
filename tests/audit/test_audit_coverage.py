"""A small version of `benchmarks/coverage.py`: the intervals hold the truth where naive ones do not."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "coverage.py"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("coverage_benchmark", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("measure", "place", "count", "least", "naive"),
    [
        ("activation", (14, "5", 0.3, "skewed"), 300, 92, 86),
        ("activation", (10, "uneven", 0.7, "zeros"), 300, 90, 50),
        ("activation", (100, "1", 0.0, "symmetric"), 300, 92, 100),
        ("lift", (14, "20", 0.3, "symmetric"), 300, 92, 65),
        ("rate", (14, "5", 0.3, "skewed"), 1500, 93, 90),
        ("rate", (10, "20", 0.7, "zeros"), 1500, 93, 65),  # 79 without a prior of the design effect
        ("rate", (14, "uneven", 0.3, "symmetric"), 1500, 93, 65),  # 89 with a t quantile on groups - 1
        ("gap", (14, "20", 0.3, "symmetric"), 150, 89, 75),
        ("gap", (30, "5", 0.3, "skewed"), 150, 90, 95),
    ],
)
def test_intervals_cover(
    benchmark: ModuleType,
    measure: str,
    place: tuple[int, str, float, str],
    count: int,
    least: float,
    naive: float,
) -> None:
    found = benchmark.coverage(measure, benchmark.Cell(*place), count)
    assert found["covered"] >= least
    assert found["naive"] <= naive


@pytest.mark.parametrize("measure", ["activation", "lift", "rate", "gap"])
def test_groups_that_do_not_matter_cost_little(benchmark: ModuleType, measure: str) -> None:
    """The pigeonhole bootstrap alone is 1.6 times as wide as one over images."""
    found = benchmark.coverage(measure, benchmark.Cell(30, "5", 0.0, "symmetric"), 60)
    assert found["width"] < 1.3


def test_the_truth_of_the_simulation_is_its_mean(benchmark: ModuleType) -> None:
    rng = np.random.default_rng(0)
    codes = np.zeros(1, dtype=int)
    for shape in benchmark.SHAPES:
        values = benchmark.shaped(benchmark.scores(rng, codes, 0.5, 200_000), shape)
        assert values.mean() == pytest.approx(benchmark.MEANS[shape], abs=4 * values.std() / np.sqrt(200_000))


def test_scores_of_a_group_correlate_as_said(benchmark: ModuleType) -> None:
    made = benchmark.scores(np.random.default_rng(0), np.array([0, 0, 1]), 0.3, 50_000)
    assert np.corrcoef(made.T)[0, 1] == pytest.approx(0.3, abs=0.02)
    assert np.corrcoef(made.T)[0, 2] == pytest.approx(0.0, abs=0.02)


def test_the_page_has_a_place_for_each_table(benchmark: ModuleType) -> None:
    text = benchmark.DOCS.read_text(encoding="utf-8")
    for name in ("coverage", "detectable"):
        assert "new table" in benchmark.replace_section(text, name, "new table")
    assert f"seed {benchmark.SEED}" in text
    with pytest.raises(SystemExit, match="no section 'other'"):
        benchmark.replace_section(text, "other", "")
