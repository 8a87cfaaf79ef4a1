"""All numbers of a set of episodes, as an environment's entry in `summary.json`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from empg_gym.scoring.actions import count_actions, entropy_entry
from empg_gym.scoring.estimates import estimate_every_pass_at, estimate_mean
from empg_gym.scoring.failures import error_kinds, error_messages
from empg_gym.scoring.headline import headline_of, headlines_by
from empg_gym.scoring.notices import notices
from empg_gym.scoring.prices import Prices
from empg_gym.scoring.record import EpisodeRecord
from empg_gym.scoring.usage import cost_entry, count_tokens, seconds_entry

_MESSAGES = 10
"""Error messages that are kept, the most frequent ones."""


def aggregate(records: Sequence[EpisodeRecord], *, prices: Prices | None = None) -> dict[str, Any]:
    """Return the numbers of one environment's episodes as plain data."""
    headline = headline_of(records)
    return {
        **headline.to_dict(),
        "scored": headline.scored,
        "tasks": len({record.task for record in records}),
        "pass_at_k": {str(k): value for k, value in estimate_every_pass_at(records).items()},
        "reward": _mean(records, lambda record: record.reward),
        "steps": _mean(records, lambda record: float(record.steps)),
        "by_task_type": _groups(records, lambda record: record.task_type),
        "by_domain": _groups(records, lambda record: record.domain),
        "invalid_actions": count_actions(records).to_dict(),
        "tokens": count_tokens(records).to_dict(),
        "cost": cost_entry(records, prices),
        "seconds": seconds_entry(records),
        "entropy": entropy_entry(records),
        "stop_reasons": dict(sorted(Counter(record.stop_reason for record in records).items())),
        "errors_by_kind": dict(sorted(error_kinds(records).items())),
        "error_messages": [{"message": text, "episodes": count} for text, count in error_messages(records).most_common(_MESSAGES)],
        "notices": notices(records),
        "retried": sum(record.attempts > 1 for record in records),
    }


def _groups(records: Sequence[EpisodeRecord], name: Callable[[EpisodeRecord], str]) -> dict[str, dict[str, Any]]:
    return {group: headline.to_dict() for group, headline in headlines_by(records, name).items()}


def _mean(records: Sequence[EpisodeRecord], value: Callable[[EpisodeRecord], float]) -> dict[str, Any] | None:
    estimate = estimate_mean(records, value)
    return None if estimate is None else estimate.to_dict()
