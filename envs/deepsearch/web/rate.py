"""A token bucket: a rate limit that allows bursts."""

from __future__ import annotations

import threading
import time


class Bucket:
    """Limits requests to `rate` per second, with bursts of up to `burst`; shared by the threads of a process.

    Unpickling creates a full bucket: the limit applies to each process separately.

    Args:
        rate: requests per second, above 0; None disables the limit.
        burst: requests that may be sent at once after a pause.
    """

    def __init__(self, rate: float | None, burst: int = 1) -> None:
        self._rate = rate
        self._burst = burst
        self._lock = threading.Lock()
        self._next = 0.0
        """Theoretical arrival time of the generic cell rate algorithm, a point of `time.monotonic()`."""

    def __reduce__(self) -> tuple[type[Bucket], tuple[float | None, int]]:
        return Bucket, (self._rate, self._burst)

    def take(self, end: float) -> bool:
        """Wait for permission and return True, or return False at once if it would come after `end` (a point of `time.monotonic()`)."""
        if self._rate is None:
            return True
        with self._lock:
            now = time.monotonic()
            start = max(now, self._next - (self._burst - 1) / self._rate)
            if start >= end:
                return False
            self._next = max(now, self._next) + 1 / self._rate
        time.sleep(max(0.0, start - now))
        return True
