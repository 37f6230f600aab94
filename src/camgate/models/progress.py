"""One line that says how far training is: redrawn on a terminal, one plain line an epoch elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class ProgressLine:
    """Context manager; `batch_done` and `epoch_done` say what happened.

    Args:
        title: what is going on.
        epochs: the most there will be.
        batches: training batches in each epoch.
        enabled: False writes nothing.
        stream: where to write; standard error by default.
    """

    def __init__(
        self,
        *,
        epochs: int,
        batches: int,
        title: str = "training",
        enabled: bool = True,
        stream: TextIO | None = None,
    ) -> None:
        self._title = title
        self._epochs = epochs
        self._batches = batches
        self._stream = stream or sys.stderr
        self._enabled = enabled
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._done = 0

    def __enter__(self) -> ProgressLine:
        if self._enabled and self._stream.isatty():
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[note]}"),
                TimeRemainingColumn(),
                console=Console(file=self._stream),
                refresh_per_second=4,
            )
            total = self._epochs * self._batches
            self._task = self._bar.add_task(f"{self._title} 1/{self._epochs}", total=total, note="")
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def batch_done(self) -> None:
        """One more training batch."""
        self._done += 1
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done)

    def epoch_done(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """The end of `epoch` (from 1) with its metrics."""
        note = (
            f"loss {metrics['train_loss']:.3f}, validation loss {metrics['validation_loss']:.3f}, "
            f"accuracy {metrics['validation_accuracy']:.3f}"
        )
        self.say(f"{self._title} {epoch}/{self._epochs}", note)

    def say(self, what: str, note: str) -> None:
        """Show `what` and `note`."""
        if self._bar is not None:
            self._bar.update(self._task, description=what, note=note)
        elif self._enabled:
            print(f"{what}: {note}", file=self._stream, flush=True)
