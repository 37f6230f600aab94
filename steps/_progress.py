"""Progress of long steps: to whoever listens in this process, else to the log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[str, int, int], None]
"""Called with (stage, done, total)."""

SECONDS = 5.0
_listener: ContextVar[Listener | None] = ContextVar("camgate_progress", default=None)
_log = logging.getLogger(__name__)


@contextmanager
def listen(listener: Listener | None) -> Iterator[None]:
    """Send progress to `listener` while the block runs (steps that run in this process only)."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def listening() -> bool:
    """Whether somebody listens."""
    return _listener.get() is not None


def reporter() -> Listener:
    """The listener, or one that logs a line every few seconds and at the end of each stage."""
    listener = _listener.get()
    if listener is not None:
        return listener
    last = time.monotonic()

    def log(stage: str, done: int, total: int) -> None:
        nonlocal last
        if done >= total or time.monotonic() - last >= SECONDS:
            last = time.monotonic()
            _log.info("%s: %d of %d", stage, done, total)

    return log


def epoch_reporter(epochs: int) -> Callable[[int, Mapping[str, float]], None]:
    """For training: one call an epoch."""
    report = reporter()

    def on_epoch(epoch: int, numbers: Mapping[str, float]) -> None:
        report("training", epoch, epochs)

    return on_epoch
