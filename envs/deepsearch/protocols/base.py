"""The protocol interface: how an agent writes its actions and how results are shown to it.

Rules:
    - `parse` accepts any text, takes linear time, never raises, and returns the part of the text that counts (`kept`): everything after
      the first closing tag is ignored.
    - `parse(write(action)).action == action` for every valid action without tags in its texts.
    - The arguments of `results` and `page` are already neutralised and cut; `observation` adds the protocol's own tags.
    - Protocols are stateless: one instance serves all episodes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from empg_gym.envs.deepsearch import tags
from empg_gym.envs.deepsearch.actions import Action


class Parsed(NamedTuple):
    """A parsed response."""

    action: Action
    kept: str
    """The part of the response that counts: up to and including the first closing tag."""


@dataclass(frozen=True, slots=True)
class Found:
    """A passage as shown: neutralised, cut to the passage limit."""

    title: str
    text: str
    url: str


@dataclass(frozen=True, slots=True)
class QueryResult:
    """Passages found for one query, best first. If the search failed, `problem` is set and there are no passages."""

    query: str
    passages: tuple[Found, ...]
    problem: str = ""


class Protocol(ABC):
    """Base class of the protocols."""

    name: ClassVar[str]
    stop: ClassVar[tuple[str, ...]] = ()
    """Stop strings for a generator; they are part of the response."""
    many_queries: ClassVar[bool] = False
    """Whether one action can hold several queries; if not, `write` joins them into one."""
    opening: ClassVar[str] = ""
    """Text before a result; not counted in the limits of an observation."""
    closing: ClassVar[str] = ""

    @abstractmethod
    def parse(self, text: str) -> Parsed:
        """Read a response."""

    @abstractmethod
    def write(self, action: Action, thought: str = "") -> str:
        """Return the text that `parse` reads as this action; `thought` is included if the protocol supports reasoning."""

    @abstractmethod
    def results(self, results: Sequence[QueryResult]) -> str:
        """Return the body of a search result, without opening and closing tags."""

    @abstractmethod
    def page(self, url: str, goal: str, text: str) -> str:
        """Return the body of a visited page, without opening and closing tags."""

    @abstractmethod
    def grammar(self, visit: bool) -> str:
        """Return instructions on how to act, for the system prompt."""

    @abstractmethod
    def templates(self, visit: bool) -> list[str]:
        """Return a template of each kind of action, with free text as `<name>`."""

    def observation(self, body: str, limit: int | None) -> str:
        """Return the body, cut to `limit` words and marks, in the protocol's result tags."""
        body = body.strip()
        return f"{self.opening}{body if limit is None else tags.cut_tokens(body, limit)}{self.closing}"
