"""What a reward is: a function of the whole episode, settled once, when it ends.

Rules:
    - A reward sees the question, the accepted answers and the transcript; it never sees retrieved text as if the agent had written it.
    - `settle` is called once an episode: at the answer, or at the last step without one (`answer` is None then).
    - `success` is a yes or no about the answer itself; `score` is in [0, 1]; `reward` may have a range of its own.
    - A reward that reads tags names the protocols it understands.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

Kind = Literal["search", "visit", "answer", "invalid"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One step of an episode, as scoring sees it."""

    response: str
    """The agent's text up to its first closing tag, forged result tags neutralised."""
    kind: Kind
    carried_out: bool
    """Whether a tool ran: a repeated query or one over the limit did not."""
    retrieved: str = ""
    """What the tool gave, without notices."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """A finished episode."""

    question: str
    golden_answers: tuple[str, ...]
    turns: tuple[Turn, ...]
    answer: str | None
    """The final answer; None if the episode ended without one."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an episode is worth."""

    reward: float
    score: float
    success: bool
    scored_by: str
    """Name of the rule that decided, with the reason where it is not the one that was asked for."""


class Reward(ABC):
    """Base class of the rewards."""

    name: ClassVar[str]
    protocols: ClassVar[tuple[str, ...]] = ()
    """Protocols whose tags the reward reads; empty for a reward of the answer alone."""
    blocking: ClassVar[bool] = False
    """Whether settling may wait for a network."""

    @abstractmethod
    def settle(self, transcript: Transcript) -> Verdict:
        """Return what the episode is worth."""
