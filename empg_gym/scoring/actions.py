"""Invalid actions and entropies of the steps of scored episodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from empg_gym.scoring.record import EpisodeRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionCounts:
    """How many actions could be carried out."""

    steps: int
    invalid: int
    """Steps whose action could not be carried out, malformed responses included."""
    malformed: int

    @property
    def invalid_rate(self) -> float | None:
        """Share of invalid steps; None without a step."""
        return self.invalid / self.steps if self.steps else None

    @property
    def valid_rate(self) -> float | None:
        """Share of valid steps; None without a step."""
        return (self.steps - self.invalid) / self.steps if self.steps else None

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of `summary.json`."""
        return {"count": self.invalid, "rate": self.invalid_rate, "malformed": self.malformed}


def count_actions(records: Sequence[EpisodeRecord]) -> ActionCounts:
    """Count the actions of the scored episodes."""
    scored = [record for record in records if record.is_scored]
    return ActionCounts(
        steps=sum(record.steps for record in scored),
        invalid=sum(record.invalid for record in scored),
        malformed=sum(record.malformed for record in scored),
    )


def mean_entropy(records: Sequence[EpisodeRecord], *, success: bool | None = None) -> float | None:
    """Return the mean over scored episodes of their mean step entropy, in nats; None where none has one.

    Args:
        records: the episodes.
        success: takes only episodes with this result; None takes all.
    """
    known = [record.entropy for record in _with_entropy(records) if success is None or record.success == success]
    return sum(value for value in known if value is not None) / len(known) if known else None


def entropy_entry(records: Sequence[EpisodeRecord]) -> dict[str, Any] | None:
    """Return the entry of `summary.json`: the mean step entropy, and whether it is a lower bound."""
    value = mean_entropy(records)
    if value is None:
        return None
    return {"mean": value, "is_bound": any(record.entropy_is_bound for record in _with_entropy(records))}


def _with_entropy(records: Sequence[EpisodeRecord]) -> list[EpisodeRecord]:
    return [record for record in records if record.is_scored and record.entropy is not None]
