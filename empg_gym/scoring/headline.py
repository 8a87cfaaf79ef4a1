"""The numbers of a set of episodes that are shown first, and of its groups."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from empg_gym.scoring.estimates import Estimate, estimate_score, estimate_success
from empg_gym.scoring.record import EpisodeRecord, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """How many episodes there are, how many failed, and success and score of the others."""

    episodes: int
    """All of them: scored ones, errors and unfinished ones."""
    errors: int
    successes: int
    scored: int
    """Episodes that success and score are over."""
    success: Estimate | None
    score: Estimate | None

    def to_dict(self) -> dict[str, Any]:
        """Return the entries of `summary.json`."""
        return {
            "episodes": self.episodes,
            "errors": self.errors,
            **_named("success_rate", "success_interval", self.success),
            **_named("score_mean", "score_interval", self.score),
        }


def headline_of(records: Sequence[EpisodeRecord]) -> Headline:
    """Return the headline of a set of episodes."""
    outcomes = Counter(record.outcome for record in records)
    return Headline(
        episodes=len(records),
        errors=outcomes[Outcome.ERROR],
        successes=outcomes[Outcome.SUCCESS],
        scored=outcomes[Outcome.SUCCESS] + outcomes[Outcome.FAILURE],
        success=estimate_success(records),
        score=estimate_score(records),
    )


def headlines_by(records: Iterable[EpisodeRecord], name: Callable[[EpisodeRecord], str]) -> dict[str, Headline]:
    """Return group to headline, in the order of the names; episodes whose name is "" belong to no group."""
    groups: dict[str, list[EpisodeRecord]] = defaultdict(list)
    for record in records:
        if name(record):
            groups[name(record)].append(record)
    return {group: headline_of(members) for group, members in sorted(groups.items())}


def _named(mean: str, interval: str, estimate: Estimate | None) -> dict[str, Any]:
    if estimate is None:
        return {mean: None, interval: None}
    return {mean: estimate.mean, interval: list(estimate.interval or ())}
