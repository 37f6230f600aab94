"""A small simulation: shards on workers that differ in speed and are taken away at any moment.

Time is measured in units of the ideal run: all work, spread evenly over all workers, nothing lost.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Case:
    """What is simulated.

    Attributes:
        workers: machines, each takes the next shard when it is free.
        shards: pieces of equal mean work.
        spread: sigma of the lognormal factor (mean 1) on the time of each attempt; 0: all are equal.
        preemptions: mean number of times that a worker is taken away in one unit of time (Poisson).
        restart: time until a worker that was taken away is back.
    """

    workers: int
    shards: int
    spread: float = 0.0
    preemptions: float = 0.0
    restart: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """One simulated run.

    Attributes:
        makespan: time until the last shard is finished; 1 is ideal.
        lost: time that was spent on attempts that came to nothing, restarts excluded, as a share of all
            work; 0 is ideal.
        begun: attempts.
    """

    makespan: float
    lost: float
    begun: int


def simulate(case: Case, chance: np.random.Generator) -> Outcome:
    """List scheduling: an attempt that is cut off costs all of its time, its shard waits again."""
    mean = case.workers / case.shards
    waiting = deque(range(case.shards))
    free = [(0.0, worker) for worker in range(case.workers)]
    lost, begun, end = 0.0, 0, 0.0
    while waiting:
        now, worker = heapq.heappop(free)
        shard = waiting.popleft()
        begun += 1
        needs = mean * chance.lognormal(-(case.spread**2) / 2, case.spread)
        until = chance.exponential(1 / case.preemptions) if case.preemptions else np.inf
        if until < needs:
            lost += until
            waiting.append(shard)
            heapq.heappush(free, (now + until + case.restart, worker))
        else:
            end = max(end, now + needs)
            heapq.heappush(free, (now + needs, worker))
    return Outcome(float(end), float(lost) / case.workers, begun)


def repeat(case: Case, runs: int, seed: int = 0) -> list[Outcome]:
    """Independent runs."""
    return [simulate(case, chance) for chance in np.random.default_rng(seed).spawn(runs)]
