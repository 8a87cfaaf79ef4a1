"""Numbers as text, for terminals and pages alike."""

from __future__ import annotations

from collections.abc import Sequence

MISSING = "–"


def percent(share: float | None, digits: int = 1) -> str:
    """Return "62.5 %"."""
    return MISSING if share is None else f"{100 * share:.{digits}f} %"


def decimal(value: float | None, digits: int = 3) -> str:
    """Return a number with a fixed number of decimals."""
    return MISSING if value is None else f"{value:.{digits}f}"


def with_interval(value: float | None, interval: Sequence[float] | None, digits: int = 1, *, percent: bool = True) -> str:
    """Return "62.5 [45.3, 77.1]", times 100 if `percent`."""
    if value is None:
        return MISSING
    scale = 100.0 if percent else 1.0
    text = f"{value * scale:.{digits}f}"
    return text if not interval else f"{text} [{interval[0] * scale:.{digits}f}, {interval[1] * scale:.{digits}f}]"


def compact(number: float) -> str:
    """Return a count with three significant digits and a suffix: 950, 12.3k, 4.56M."""
    for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.3g}{suffix}"
    return f"{number:.0f}"


def counted(count: int, noun: str) -> str:
    """Return "1 episode", "1,200 episodes"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def clock(seconds: float) -> str:
    """Return seconds as "4:05" or "1:04:05"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def duration(seconds: float) -> str:
    """Return seconds in words: "45 s", "12 min", "2 h 5 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
