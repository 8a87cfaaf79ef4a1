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
    success_of_all: Estimate | None
    """Over scored episodes and errors, these as failures: an agent can't raise it by failing its own episodes."""
    score_of_all: Estimate | None
    """Likewise, errors as 0."""

    def to_dict(self) -> dict[str, Any]:
        """Return the entries of `summary.json`; those over all episodes only where there are errors, since the two differ only then."""
        entries = {
            "episodes": self.episodes,
            "errors": self.errors,
            **_named("success_rate", "success_interval", self.success),
            **_named("score_mean", "score_interval", self.score),
        }
        if self.errors:
            entries |= _named("success_rate_errors_as_0", "success_interval_errors_as_0", self.success_of_all)
            entries |= _named("score_mean_errors_as_0", "score_interval_errors_as_0", self.score_of_all)
        return entries


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
        success_of_all=estimate_success(records, errors_as_0=True),
        score_of_all=estimate_score(records, errors_as_0=True),
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
