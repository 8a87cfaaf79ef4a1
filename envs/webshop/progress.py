"""Progress of a long build: reported to a callback, or as a bar on the terminal.

The bar appears only if standard error is a terminal and the build takes longer than a second.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Progress = Callable[[str, int, int | None], None]
"""Called with the stage, the amount done and, if known, the total amount."""
PATIENCE = 1.0
"""Seconds before a bar appears."""


class _Bar:
    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._bar: Any = None
        self._tasks: dict[str, Any] = {}

    def report(self, stage: str, done: int, total: int | None) -> None:
        if self._bar is None:
            if not sys.stderr.isatty() or time.monotonic() - self._begun < PATIENCE:
                return
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            columns = (TextColumn("WebShop {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
        if stage not in self._tasks:
            self._tasks[stage] = self._bar.add_task(stage, total=total)
        self._bar.update(self._tasks[stage], completed=done, total=total)

    def stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()


@contextmanager
def reporting(progress: Progress | None) -> Iterator[Progress]:
    """Yield `progress`, or the report function of a bar that disappears at the end."""
    if progress is not None:
        yield progress
        return
    bar = _Bar()
    try:
        yield bar.report
    finally:
        bar.stop()
