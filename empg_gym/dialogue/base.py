"""What a dialogue format is: how observations are presented to a language model, and how its response is read.

A format is a small stateless class. `parse` never raises: for a response that does not follow the format it sets `problem`, and the agent
wrapper answers with `corrective(problem)` instead of the observation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple


class Parsed(NamedTuple):
    """A parsed response."""

    thought: str
    action: str
    problem: str | None = None
    """What is wrong with a malformed response, as the end of the sentence "Your reply could not be read: …"."""


class Dialogue(ABC):
    """Base class of the dialogue formats."""

    name: ClassVar[str]
    suits_native: ClassVar[bool] = False
    """Whether the format passes responses through, so that it does not contradict an environment's native protocol."""

    @abstractmethod
    def format_rules(self) -> str:
        """Return how a response must look, for the system prompt."""

    @abstractmethod
    def parse(self, response: str) -> Parsed:
        """Read a response."""

    @abstractmethod
    def render(self, thought: str, action: str) -> str:
        """Return the response that `parse` reads as this thought and action."""

    def system(self, rules: str) -> str:
        """Return the system prompt for an environment with these rules."""
        return f"{rules.strip()}\n\n{self.format_rules()}".strip()

    def observation(self, text: str, admissible: Sequence[str] = ()) -> str:
        """Return the message for an observation; `admissible` is empty if actions are not listed."""
        if not admissible:
            return text
        listing = "\n".join(f"- {action}" for action in admissible)
        return f"{text}\n\nAdmissible actions:\n{listing}"

    def resumed(self, instruction: str, left_out: int, message: str) -> str:
        """Return the first message of a history window that leaves out `left_out` steps."""
        turns = "1 earlier turn is" if left_out == 1 else f"{left_out} earlier turns are"
        return f"{instruction}\n({turns} not shown.)\n\n{message}"

    def corrective(self, problem: str) -> str:
        """Return the message that answers a malformed response."""
        return f"Your reply could not be read: {problem}. {self.format_rules()}"
