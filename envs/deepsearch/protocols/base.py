"""What a protocol is: how actions are written by an agent and how results are written to it.

Rules:
    - `parse` reads any text in time linear in its length, never raises, and says how much of the text counts (`kept`): everything
      behind the first closing tag is as if it had not been written.
    - `parse(write(action)).action == action` for every valid action whose texts hold no tags.
    - What `results`, `page` and `notice` are given is already neutralised and cut; they add the protocol's own tags around it.
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
    """A response, read."""

    action: Action
    kept: str
    """The part of the response that counts: up to and including the first closing tag."""


@dataclass(frozen=True, slots=True)
class Found:
    """A passage as it is shown: neutralised, cut to the passage limit."""

    title: str
    text: str
    url: str


@dataclass(frozen=True, slots=True)
class QueryResult:
    """What one query found, best first. `problem` is set where the search failed; then there are no passages."""

    query: str
    passages: tuple[Found, ...]
    problem: str = ""


class Protocol(ABC):
    """Base class of the protocols."""

    name: ClassVar[str]
    stop: ClassVar[tuple[str, ...]] = ()
    """Texts after which a generator may stop; they belong to the response."""
    many_queries: ClassVar[bool] = False
    """Whether one action can hold several queries; elsewhere `write` joins them to one."""
    opening: ClassVar[str] = ""
    """Opens a result; not counted against the limits of an observation."""
    closing: ClassVar[str] = ""

    @abstractmethod
    def parse(self, text: str) -> Parsed:
        """Read a response."""

    @abstractmethod
    def write(self, action: Action, thought: str = "") -> str:
        """Return the text that `parse` reads as this action; `thought` goes where the protocol has a place for reasoning."""

    @abstractmethod
    def results(self, results: Sequence[QueryResult]) -> str:
        """Return the body of a search result, without opening and closing tags."""

    @abstractmethod
    def page(self, url: str, goal: str, text: str) -> str:
        """Return the body of a visited page, without opening and closing tags."""

    @abstractmethod
    def grammar(self, visit: bool) -> str:
        """How to act, for the system prompt."""

    @abstractmethod
    def templates(self, visit: bool) -> list[str]:
        """The kinds of actions, with free text as `<name>`."""

    def observation(self, body: str, limit: int | None) -> str:
        """Wrap a body in the protocol's tags, cut to `limit` tokens before it is closed."""
        body = body.strip()
        return f"{self.opening}{body if limit is None else tags.cut_tokens(body, limit)}{self.closing}"
