"""The state of one episode: immutable, so that a snapshot is the state itself."""

from __future__ import annotations

from dataclasses import dataclass

from empg_gym.envs.deepsearch.scoring import Turn, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """Everything that happened since the question was asked."""

    turns: tuple[Turn, ...] = ()
    asked: tuple[str, ...] = ()
    """Queries that were answered, lower-cased, white space collapsed."""
    seen: frozenset[str] = frozenset()
    """Ids of the passages whose text was shown; one that a limit cut short does not count."""
    seen_titles: frozenset[str] = frozenset()
    retrieved: tuple[str, ...] = ()
    """Ids of the passages that the last turn found."""
    verdict: Verdict | None = None
    """Set when the episode has ended."""

    @property
    def kind(self) -> str:
        """What the last turn was; empty at the start."""
        return self.turns[-1].kind if self.turns else ""
