"""The same small piece of work for many files."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_PROBE = 64
_THREADS = 8
_CHUNK = 32
_SLOW = 5e-4
"""Seconds per file from which threads pay: below it Python's own lock makes them two to three times slower
(measured: 35 microseconds a header alone, 70 to 100 in threads)."""


def for_each_file(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """`[work(item) for item in items]`, in threads where waiting for the storage dominates.

    Args:
        work: called once for each item; an exception ends all.
        items: what to work on.

    Returns:
        Results in the order of `items`.
    """
    begin = time.perf_counter()
    results = [work(item) for item in items[:_PROBE]]
    rest = items[_PROBE:]
    if time.perf_counter() - begin < _SLOW * _PROBE:
        return results + [work(item) for item in rest]
    chunks = [rest[start : start + _CHUNK] for start in range(0, len(rest), _CHUNK)]
    with ThreadPoolExecutor(_THREADS) as pool:
        for part in pool.map(lambda chunk: [work(item) for item in chunk], chunks):
            results += part
    return results
