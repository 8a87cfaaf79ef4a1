"""What every case of the attacks returns."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

Outcome = tuple[int, int, str]
"""Tried, held, and a remark with what was measured."""
Case = Callable[[Path], Outcome]
"""Gets an empty folder of its own."""
Item = TypeVar("Item")


def tally(items: Iterable[Item], holds: Callable[[Item], bool], remark: str) -> Outcome:
    """Try every item; an exception that the case does not expect has not held."""
    tried = held = 0
    for item in items:
        tried += 1
        try:
            held += holds(item)
        except Exception as error:
            remark += f"; {item!r:.60}: {error!r:.120}"
    return tried, held, remark
