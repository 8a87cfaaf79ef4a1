"""How long a server asks to be left alone: `retry-after-ms`, or `Retry-After` in seconds or as an HTTP date (RFC 9110 section 10.2.3)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def retry_after(headers: Mapping[str, str], *, longest: float = math.inf, now: datetime | None = None) -> float | None:
    """Return the seconds that a server asks to wait: 0 for a time in the past, None where it names no readable time.

    Args:
        headers: headers of the reply, with names in lower case or in a case-insensitive mapping.
        longest: upper limit of the result; without it, a number beyond the range of a float is infinite.
        now: the present, for dates; None reads the clock.
    """
    for name, scale in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        seconds = _seconds(headers.get(name, ""), scale, now)
        if seconds is not None:
            return min(max(seconds, 0.0), longest)
    return None


def _seconds(value: str, scale: float, now: datetime | None) -> float | None:
    try:
        seconds = float(value) / scale
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
            seconds = (moment.replace(tzinfo=moment.tzinfo or UTC) - (now or datetime.now(UTC))).total_seconds()
        except (ValueError, TypeError, IndexError, OverflowError):  # everything that the parser raises for malformed dates
            return None
    return None if math.isnan(seconds) else seconds
