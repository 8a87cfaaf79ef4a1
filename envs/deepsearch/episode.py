"""The state of an episode. It is immutable, so a snapshot is the state itself."""

from __future__ import annotations

from dataclasses import dataclass

from empg_gym.envs.deepsearch.scoring import StepRecord, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """What has happened since the question was asked."""

    steps: tuple[StepRecord, ...] = ()
    asked: tuple[str, ...] = ()
    """Answered queries, in lower case, with white space collapsed."""
    seen: frozenset[str] = frozenset()
    """Ids of the passages whose text was shown in full; a passage cut short by a limit does not count."""
    seen_titles: frozenset[str] = frozenset()
    retrieved: tuple[str, ...] = ()
    """Ids of the passages that the last step found."""
    verdict: Verdict | None = None
    """Set once the episode has ended."""

    @property
    def kind(self) -> str:
        """Kind of the last step; empty at the start."""
        return self.steps[-1].kind if self.steps else ""
