"""How long to wait before a request is sent again.

Rules:
    - A server that names a time (`empg_gym.net.retry_after`) is obeyed, up to `LONGEST_WAIT`; a little jitter on top keeps the
      waiting requests from coming back at one moment.
    - Without one the wait is drawn from 0 to `FIRST_WAIT` doubled per attempt, at most `LONGEST_BACKOFF` (full jitter).
"""

from __future__ import annotations

import random

FIRST_WAIT = 0.5
LONGEST_BACKOFF = 30.0
LONGEST_WAIT = 120.0


def wait_seconds(attempt: int, asked: float | None, rng: random.Random) -> float:
    """Return the wait before attempt `attempt + 1` (the first attempt is 0)."""
    if asked is not None:
        return asked + rng.uniform(0.0, min(1.0, 0.1 * asked + 0.05))
    return rng.uniform(0.0, min(LONGEST_BACKOFF, FIRST_WAIT * 2.0**attempt))
