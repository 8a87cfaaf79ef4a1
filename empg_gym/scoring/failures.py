"""What the episodes that failed by an error report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from empg_gym.scoring.record import EpisodeRecord

MESSAGE_SHOWN = 500
"""Characters of an error's text that are kept."""


def error_kinds(records: Iterable[EpisodeRecord]) -> Counter[str]:
    """Return the name of the error's class to the number of episodes."""
    return Counter((record.error or "unknown").split(":", 1)[0] for record in records if record.is_error)


def error_messages(records: Iterable[EpisodeRecord]) -> Counter[str]:
    """Return the beginning of the error's text to the number of episodes."""
    return Counter((record.error or "unknown")[:MESSAGE_SHOWN] for record in records if record.is_error)
