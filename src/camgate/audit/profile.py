"""Where the time of an audit goes, stage by stage."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TypeVar

Item = TypeVar("Item")


@dataclass
class Profile:
    """Seconds by stage; a stage inside another counts for itself alone, so that the sum is the whole."""

    seconds: dict[str, float] = field(default_factory=dict)
    _open: list[str] = field(default_factory=lambda: ["else"])
    _since: float = field(default_factory=time.perf_counter)

    def enter(self, stage: str) -> None:
        """A stage begins; the one around it pauses."""
        self._book()
        self._open.append(stage)

    def leave(self) -> None:
        """The innermost stage ends."""
        self._book()
        self._open.pop()

    def lines(self) -> list[str]:
        """The stages, the longest first: seconds and share of the whole."""
        self._book()
        total = sum(self.seconds.values()) or 1.0
        order = sorted(self.seconds.items(), key=lambda item: -item[1])
        return [f"{stage:<16}{seconds:9.2f} s {seconds / total:6.1%}" for stage, seconds in order]

    def _book(self) -> None:
        now = time.perf_counter()
        self.seconds[self._open[-1]] = self.seconds.get(self._open[-1], 0.0) + now - self._since
        self._since = now


_active: ContextVar[Profile | None] = ContextVar("camgate_profile", default=None)


@contextmanager
def profiled() -> Iterator[Profile]:
    """Measure all audits inside the block."""
    token = _active.set(Profile())
    try:
        found = _active.get()
        assert found is not None  # noqa: S101  set above
        yield found
    finally:
        _active.reset(token)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """The block is this stage, where somebody measures."""
    profile = _active.get()
    if profile is None:
        yield
        return
    profile.enter(name)
    try:
        yield
    finally:
        profile.leave()


def each(name: str, items: Iterable[Item]) -> Iterator[Item]:
    """The items; waiting for each is that stage."""
    iterator = iter(items)
    while True:
        with stage(name):
            try:
                item = next(iterator)
            except StopIteration:
                return
        yield item
