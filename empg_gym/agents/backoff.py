"""How long to wait before a request is sent again.

Rules:
    - A server that names a time (`retry-after-ms`, or `Retry-After` in seconds or as an HTTP date, RFC 9110 section 10.2.3) is obeyed,
      up to `LONGEST_WAIT`; a little jitter on top keeps the waiting requests from coming back at one moment.
    - Without one the wait is drawn from 0 to `FIRST_WAIT` doubled per attempt, at most `LONGEST_BACKOFF` (full jitter).
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

FIRST_WAIT = 0.5
LONGEST_BACKOFF = 30.0
LONGEST_WAIT = 120.0


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Return the seconds that the server asks to wait, or None where it names none that can be read."""
    milliseconds = headers.get("retry-after-ms")
    value = headers.get("retry-after")
    try:
        if milliseconds is not None:
            seconds = float(milliseconds) / 1000
        elif value is None:
            return None
        else:
            seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(str(value))
        except (ValueError, OverflowError):
            return None
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        seconds = (moment - (now or datetime.now(UTC))).total_seconds()
    if seconds != seconds:
        return None
    return min(max(seconds, 0.0), LONGEST_WAIT)


def wait_seconds(attempt: int, asked: float | None, rng: random.Random) -> float:
    """Return the wait before attempt `attempt + 1` (the first attempt is 0)."""
    if asked is not None:
        return asked + rng.uniform(0.0, min(1.0, 0.1 * asked + 0.05))
    return rng.uniform(0.0, min(LONGEST_BACKOFF, FIRST_WAIT * 2.0**attempt))
