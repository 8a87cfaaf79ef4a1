"""Tokens, cost and seconds, over all episodes: those that failed were paid for too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from empg_gym.scoring.prices import Prices
from empg_gym.scoring.record import EpisodeRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Tokens of prompts and responses; None where no episode reports them."""

    prompt: int | None
    completion: int | None
    uncounted_steps: int
    """Steps whose completion tokens are unknown."""

    @property
    def total(self) -> int:
        """Known tokens of prompts and responses."""
        return (self.prompt or 0) + (self.completion or 0)

    def cost(self, prices: Prices) -> float:
        """Return the price of the known tokens."""
        return ((self.prompt or 0) * prices.prompt + (self.completion or 0) * prices.completion) / 1e6

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of `summary.json`."""
        return asdict(self)


def count_tokens(records: Sequence[EpisodeRecord]) -> Tokens:
    """Count the tokens of all episodes."""
    return Tokens(
        prompt=_total(record.prompt_tokens for record in records),
        completion=_total(record.completion_tokens for record in records),
        uncounted_steps=sum(record.uncounted_steps for record in records),
    )


def cost_entry(records: Sequence[EpisodeRecord], prices: Prices | None) -> dict[str, float] | None:
    """Return the entry of `summary.json`: the price of all tokens; None without prices."""
    if prices is None:
        return None
    total = count_tokens(records).cost(prices)
    return {"total": total, "per_episode": total / len(records) if records else 0.0}


def seconds_entry(records: Sequence[EpisodeRecord]) -> dict[str, float]:
    """Return the entry of `summary.json`: seconds of model and environment, in total and per episode."""
    model, env = sum(record.model_seconds for record in records), sum(record.env_seconds for record in records)
    number = max(1, len(records))
    return {"model": model, "environment": env, "model_per_episode": model / number, "environment_per_episode": env / number}


def _total(counts: Iterable[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
