"""A token bucket: so many requests a second, with a burst."""

from __future__ import annotations

import threading
import time


class Bucket:
    """Lets `rate` requests a second through, `burst` of them at once; shared by the threads of a process.

    Pickling gives a full bucket: the limit holds for each process on its own.

    Args:
        rate: requests a second, above 0; None = no limit.
        burst: requests that may go at once after a pause.
    """

    def __init__(self, rate: float | None, burst: int = 1) -> None:
        self._rate = rate
        self._burst = burst
        self._lock = threading.Lock()
        self._next = 0.0
        """When the bucket will be full but for `burst` requests: the theoretical arrival time of the generic cell rate algorithm."""

    def __reduce__(self) -> tuple[type[Bucket], tuple[float | None, int]]:
        return Bucket, (self._rate, self._burst)

    def take(self, end: float) -> bool:
        """Wait for a turn and return True, or return False at once if it would come after `end` (of `time.monotonic()`)."""
        if self._rate is None:
            return True
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next - (self._burst - 1) / self._rate)
            if turn >= end:
                return False
            self._next = max(now, self._next) + 1 / self._rate
        time.sleep(max(0.0, turn - now))
        return True
