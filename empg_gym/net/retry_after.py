"""How long a server asks to be left alone.

It says so in `retry-after-ms`, or in `Retry-After` as seconds or as an HTTP date (RFC 9110 section 10.2.3).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def retry_after(headers: Mapping[str, str], *, longest: float = math.inf, now: datetime | None = None) -> float | None:
    """Return the seconds that the server asks to wait, 0 for a time that is past, None where it names none that can be read.

    Args:
        headers: of its answer, with names in lower case or a mapping that does not tell them apart.
        longest: at most so many seconds; without it a number beyond any float is infinite.
        now: for dates; None takes the clock.
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
        except (ValueError, TypeError, IndexError, OverflowError):  # all that the parser raises for dates that it does not foresee
            return None
    return None if math.isnan(seconds) else seconds
