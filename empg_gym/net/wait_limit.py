"""`WaitLimit`: a time limit for each of many waits of a task, with one timer for all of them.

`asyncio.timeout` starts and cancels a timer for each wait; a server that answers thousands of short messages spends a quarter of its time
on that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


class WaitLimit:
    """The limit of one connection, in one direction.

    Args:
        seconds: longest time of a wait.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._task: asyncio.Task[object] | None = None
        """The task that waits, None while there is none."""
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._is_late = False

    async def wait(self, awaitable: Awaitable[T]) -> T:
        """Return the result of `awaitable`.

        Raises:
            TimeoutError: it took longer than the limit.
        """
        task = asyncio.current_task()
        if task is None or self._task is not None:  # two tasks of one connection
            async with asyncio.timeout(self._seconds):
                return await awaitable
        loop = task.get_loop()
        cancelled_before = task.cancelling()
        self._task, self._since, self._is_late = task, loop.time(), False
        if self._timer is None:
            self._timer = loop.call_later(self._seconds, self._check)
        try:
            return await awaitable
        except asyncio.CancelledError:
            if self._is_late and task.uncancel() <= cancelled_before:
                raise TimeoutError from None
            raise
        finally:
            self._task = None

    def close(self) -> None:
        """Drop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        """Cancel a wait that is over its limit, or look again when the current one would be."""
        self._timer = None
        if self._task is None:
            return
        loop = self._task.get_loop()
        end = self._since + self._seconds
        if loop.time() < end:
            self._timer = loop.call_at(end, self._check)
        else:
            self._is_late = True
            self._task.cancel()
