"""The simulation of stragglers and retries, where the answer is known."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture(scope="module")
def model() -> Iterator[Any]:
    """The benchmark's module, a script's neighbour."""
    folder = str(Path(__file__).parents[2] / "benchmarks")
    sys.path.insert(0, folder)
    import stragglers

    yield stragglers
    sys.path.remove(folder)


def makespans(model: Any, runs: int, **case: float) -> np.ndarray:
    return np.array([found.makespan for found in model.repeat(model.Case(**case), runs)])


@pytest.mark.parametrize(("workers", "shards"), [(1, 1), (1, 7), (4, 4), (4, 20), (4, 5), (8, 9), (5, 3)])
def test_equal_shards_on_safe_workers_go_in_rounds(model: Any, workers: int, shards: int) -> None:
    (found,) = model.repeat(model.Case(workers, shards), 1)
    assert found.makespan == pytest.approx(-(-shards // workers) * workers / shards)
    assert (found.lost, found.begun) == (0, shards)


def test_one_shard_a_worker_waits_for_the_slowest(model: Any) -> None:
    found = makespans(model, 3000, workers=8, shards=8, spread=0.5)
    drawn = np.exp(np.random.default_rng(1).normal(-0.125, 0.5, (200_000, 8))).max(axis=1)
    assert found.mean() == pytest.approx(drawn.mean(), abs=4 * found.std() / np.sqrt(len(found)))
    assert makespans(model, 500, workers=1, shards=1, spread=0.5).mean() == pytest.approx(1, abs=0.08)


def test_a_shard_that_is_begun_again_takes_the_known_time(model: Any) -> None:
    rate, restart = 1.3, 0.2
    found = makespans(model, 6000, workers=1, shards=1, preemptions=rate, restart=restart)
    # Failures of a Poisson process, work from scratch: (exp(rate t) - 1) (1 / rate + restart), t = 1.
    expected = (np.exp(rate) - 1) * (1 / rate + restart)
    assert found.mean() == pytest.approx(expected, abs=4 * found.std() / np.sqrt(len(found)))


def test_small_shards_lose_little(model: Any) -> None:
    lost = [
        np.mean([found.lost for found in model.repeat(model.Case(4, 4 * each, 0.3, 1.0), 300)])
        for each in (1, 4, 16, 64)
    ]
    assert lost == sorted(lost, reverse=True)
    # In the limit half a shard a preemption.
    assert lost[-1] == pytest.approx(0.5 / 64, rel=0.25)


def test_the_same_seed_gives_the_same_runs(model: Any) -> None:
    case = model.Case(3, 9, 0.3, 0.5, 0.1)
    assert model.repeat(case, 5, seed=3) == model.repeat(case, 5, seed=3)
    assert model.repeat(case, 5, seed=3) != model.repeat(case, 5, seed=4)
