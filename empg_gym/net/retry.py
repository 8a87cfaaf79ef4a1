"""Which failures of an HTTP request are retried, and how long to wait before the next attempt.

Rules:
    - Connection failures, time-outs, replies that break off, and the statuses of `is_retryable` may pass: they are retried. Any other
      status is an answer.
    - A server that names a time (`empg_gym.net.retry_after`) is obeyed, up to `longest_wait`; a little jitter on top keeps the
      waiting requests from coming back at the same moment.
    - Otherwise (no time named, or a time that is already past) the wait is drawn between half of the backoff and the backoff:
      `first_wait`, doubled with each attempt, at most `longest_backoff`.
    - Waiting is never part of an episode's randomness: the generator that draws it should differ between processes.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass

from empg_gym.errors import ConfigError
from empg_gym.net.retry_after import retry_after

RETRYABLE_STATUSES = frozenset({408, 409, 425, 429, *range(500, 600)})
"""Request Timeout, Conflict (a lock or a race on the server), Too Early, Too Many Requests, and every server error."""
_MOST_DOUBLINGS = 64


def is_retryable(status: int) -> bool:
    """Return whether a request that was answered with `status` may succeed when it is sent again."""
    return status in RETRYABLE_STATUSES


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often a request is retried and how long to wait in between.

    Example: `RetryPolicy(retries=2)` sends a request at most three times and waits 0.25 to 0.5 s, then 0.5 to 1 s.

    Raises:
        ConfigError: a value is out of range.
    """

    retries: int = 6
    """Attempts after the first one."""
    first_wait: float = 0.5
    """Seconds: the backoff after the first attempt."""
    longest_backoff: float = 30.0
    """Seconds: upper limit of the doubled backoff."""
    longest_wait: float = 120.0
    """Seconds: a server that asks for more is retried after this time."""

    def __post_init__(self) -> None:
        for name in ("retries", "first_wait", "longest_backoff", "longest_wait"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ConfigError(f"{name} must be at least 0 and finite, not {value}")

    @property
    def attempts(self) -> str:
        """How often a request that failed for good was sent, for an error message: "once" or "7 times"."""
        return "once" if self.retries == 0 else f"{self.retries + 1} times"

    def wait(self, attempt: int, rng: random.Random, headers: Mapping[str, str] | None = None) -> float:
        """Return the seconds to wait after a failed attempt.

        Args:
            attempt: number of the failed attempt, starting with 0.
            rng: draws the jitter.
            headers: of the reply (names in lower case or a case-insensitive mapping); None without a reply.
        """
        asked = retry_after(headers or {}, longest=self.longest_wait)
        if asked:
            return asked + rng.uniform(0.0, min(1.0, 0.1 * asked + 0.05))
        backoff = min(self.longest_backoff, self.first_wait * 2.0 ** min(attempt, _MOST_DOUBLINGS))
        return backoff * rng.uniform(0.5, 1.0)
