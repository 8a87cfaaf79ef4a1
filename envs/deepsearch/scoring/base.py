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

from empg_gym.env import KeyPart

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

    def progress(self, transcript: Transcript) -> KeyPart:
        """Return what the steps so far contribute to `settle`, whatever follows; for state keys.

        Equal values must imply equal verdicts after any equal continuation. The default is all steps, which is always right; a reward
        that needs less of them returns less, so that more states are recognised as equal.

        Args:
            transcript: the steps so far, without an answer.
        """
        return tuple((step.response, step.kind, step.carried_out, step.retrieved) for step in transcript.steps)


class AnswerReward(Reward):
    """Base class of the rewards that depend on the answer alone."""

    def progress(self, transcript: Transcript) -> KeyPart:
        return None
