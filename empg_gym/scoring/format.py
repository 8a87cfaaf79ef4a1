"""Numbers as people read them, in terminals and pages alike."""

from __future__ import annotations

from collections.abc import Sequence


def with_interval(value: float | None, interval: Sequence[float] | None, digits: int = 1, *, percent: bool = True) -> str:
    """Return "62.5 [45.3, 77.1]", times a hundred where `percent` is set."""
    if value is None:
        return "–"
    scale = 100.0 if percent else 1.0
    text = f"{value * scale:.{digits}f}"
    return text if not interval else f"{text} [{interval[0] * scale:.{digits}f}, {interval[1] * scale:.{digits}f}]"


def compact(number: float) -> str:
    """Return a count in at most four figures: 950, 12.3k, 4.56M."""
    for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.3g}{suffix}"
    return f"{number:.0f}"
