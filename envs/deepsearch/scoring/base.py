"""The reward interface: a function of the whole episode, computed once, when it ends.

Rules:
    - A reward sees the question, the accepted answers and the transcript, in which retrieved text is separate from the agent's text.
    - `settle` is called once per episode: at the answer, or at the last step without one (then `answer` is None).
    - `success` says whether the answer is right; `score` is in [0, 1]; `reward` may have any range.
    - A reward that reads tags lists the protocols that it supports.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

Kind = Literal["search", "visit", "answer", "invalid"]


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step of an episode, as scoring sees it."""

    response: str
    """The agent's text up to its first closing tag, with forged result tags neutralised."""
    kind: Kind
    carried_out: bool
    """Whether the action was executed; a repeated query or one over the limit is not."""
    retrieved: str = ""
    """The tool's result, without notices."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """A finished episode."""

    question: str
    golden_answers: tuple[str, ...]
    steps: tuple[StepRecord, ...]
    answer: str | None
    """The final answer; None if the episode ended without one."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of an episode."""

    reward: float
    score: float
    success: bool
    scored_by: str
    """Name of the rule that decided, with the reason if it is not the configured one."""


class Reward(ABC):
    """Base class of the rewards."""

    name: ClassVar[str]
    protocols: ClassVar[tuple[str, ...]] = ()
    """Protocols whose tags the reward reads; empty for a reward based on the answer alone."""
    blocking: ClassVar[bool] = False
    """Whether `settle` may wait for the network."""

    @abstractmethod
    def settle(self, transcript: Transcript) -> Verdict:
        """Return reward, score and success of the episode."""
