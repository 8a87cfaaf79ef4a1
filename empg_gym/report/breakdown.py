"""The table of recorded episodes: scoring's numbers by environment, agent, phase, split and task type."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from empg_gym.report.cells import short_env
from empg_gym.report.phases import in_order
from empg_gym.scoring.actions import count_actions, mean_entropy
from empg_gym.scoring.estimates import estimate_mean, estimate_pass_at
from empg_gym.scoring.headline import Headline, headline_of
from empg_gym.scoring.prices import Prices
from empg_gym.scoring.record import EpisodeRecord
from empg_gym.scoring.usage import Tokens, count_tokens

_LABELS = ("env", "agent", "phase", "split")
"""Columns of the index that separate groups, where they differ."""


@dataclass(frozen=True)
class Group:
    """Episodes that share environment, agent, phase, split and perhaps task type."""

    name: str
    level: int
    """0 a whole group, 1 a task type of the group above it."""
    updates: tuple[int, int] | None
    """First and last training step, of episodes that a training run recorded."""
    records: tuple[EpisodeRecord, ...]

    @cached_property
    def headline(self) -> Headline:
        """Episodes, errors, success and score."""
        return headline_of(self.records)

    @cached_property
    def steps(self) -> float | None:
        """Mean number of steps."""
        estimate = estimate_mean(self.records, lambda record: float(record.steps))
        return None if estimate is None else estimate.mean

    @cached_property
    def invalid_rate(self) -> float | None:
        """Share of steps whose action could not be carried out."""
        return count_actions(self.records).invalid_rate

    @cached_property
    def tokens(self) -> Tokens:
        """Tokens of prompts and responses, failed episodes included."""
        return count_tokens(self.records)

    def cost(self, prices: Prices) -> float:
        """Return the price of the tokens."""
        return self.tokens.cost(prices)

    def pass_at(self, k: int) -> float | None:
        """Return the chance that one of `k` episodes of a task succeeds."""
        return estimate_pass_at(self.records, k)

    def entropy(self, success: bool) -> float | None:
        """Return the mean step entropy of episodes with this result, in nats."""
        return mean_entropy(self.records, success=success)


def break_down(rows: Sequence[dict[str, Any]], records: Sequence[EpisodeRecord], *, training: bool = False) -> list[Group]:
    """Return the groups in order, each followed by its task types where it has several.

    Args:
        rows: index row of each episode; only its labels are read.
        records: record of each episode.
        training: the episodes are samples of a training run: every group names its phase, and none is divided by task type.
    """
    named = [name for name in _LABELS if len({row[name] for row in rows}) > 1 or (training and name == "phase")]
    groups = _group(rows, range(len(rows)), lambda row: tuple(row[name] for name in named))
    listed: list[Group] = []
    for key in sorted(groups, key=lambda key: [in_order(part) for part in key]):
        positions = groups[key]
        first = rows[positions[0]]
        name = " · ".join(short_env(part) for part in key if part)
        listed.append(_made(name or " · ".join(filter(None, (short_env(first["env"]), first["split"]))), 0, rows, positions, records))
        kinds = _group(rows, [position for position in positions if rows[position]["type"]], lambda row: str(row["type"]))
        if len(kinds) > 1 and not training:
            listed.extend(_made(kind, 1, rows, kinds[kind], records) for kind in sorted(kinds))
    return listed


def _made(name: str, level: int, rows: Sequence[dict[str, Any]], positions: Sequence[int], records: Sequence[EpisodeRecord]) -> Group:
    updates = [rows[position]["update"] for position in positions if rows[position]["update"] is not None]
    return Group(name, level, (min(updates), max(updates)) if updates else None, tuple(records[position] for position in positions))


def _group(rows: Sequence[dict[str, Any]], positions: Sequence[int], name: Callable[[dict[str, Any]], Any]) -> dict[Any, list[int]]:
    groups: dict[Any, list[int]] = defaultdict(list)
    for position in positions:
        groups[name(rows[position])].append(position)
    return groups
