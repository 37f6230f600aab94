"""What the command line shows: progress, tables, one line at the end. Plain where it is not a terminal."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

Listener = Callable[[str, int, int], None]
EVERY = 5.0
"""Seconds between progress lines where there is no terminal."""

STYLES = {"PASS": "bold green", "FAIL": "bold red", "INCONCLUSIVE": "bold yellow", "ERROR": "bold magenta"}


def console(*, stderr: bool = False) -> Console:
    """A console; wide and without wrapping where its output goes to a file."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else 160
    return Console(file=stream, highlight=False, soft_wrap=not stream.isatty(), width=width)


def log_plainly() -> None:
    """Show camgate's warnings on stderr, control characters of whatever they name made visible."""
    logger = logging.getLogger("camgate")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(_Plain("%(message)s"))
        logger.addHandler(handler)
        logger.propagate = False


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        from camgate.report.text import plain

        return "\n".join(map(plain, super().format(record).split("\n")))


@contextmanager
def progress(prefix: str = "", *, enabled: bool = True) -> Iterator[Listener]:
    """Show (stage, done, total): a bar for each stage on a terminal, else a line every few seconds.

    Args:
        prefix: put before the name of each stage.
        enabled: False shows nothing.
    """
    out = console(stderr=True)
    if not enabled:
        yield lambda stage, done, total: None
    elif out.is_terminal:
        with _bars(out, prefix) as listener:
            yield listener
    else:
        yield _lines(out, prefix)


def rate(speed: float) -> str:
    """Steps a second, or how long one takes where it is longer than that."""
    return f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:.1f} s each"


class _Rate(ProgressColumn):
    """Images (or epochs, or shards) a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(rate(speed) if speed else "")


@contextmanager
def _bars(out: Console, prefix: str) -> Iterator[Listener]:
    bars = Progress(
        TextColumn("{task.description:<34}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=out,
        transient=False,
    )
    tasks: dict[str, object] = {}
    with bars:

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(f"{prefix}{stage}", total=total)
            bars.update(tasks[stage], completed=done, total=total)  # type: ignore[arg-type]

        yield show


def _lines(out: Console, prefix: str) -> Listener:
    started: dict[str, tuple[float, int]] = {}
    last: dict[str, float] = {}

    def show(stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        # What was done when a stage is first heard of took time that nobody measured.
        since, before = started.setdefault(stage, (now, done))
        if stage in last and done < total and now - last[stage] < EVERY:
            return
        last[stage] = now
        spent, steps = now - since, done - before
        line = f"{prefix}{stage}: {done} of {total}, {spent:.0f} s"
        if steps > 0 and spent >= 1:
            line += f", {rate(steps / spent)}"
            if done < total:
                line += f", {spent / steps * (total - done):.0f} s left"
        out.print(line, markup=False)

    return show
