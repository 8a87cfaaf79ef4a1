"""The actions of an agent, independent of the protocol in which they are written.

Rules:
    - A protocol parses every text into exactly one of these; a text that can't be parsed becomes an `Invalid` with a reason.
    - Queries, addresses and answers are stripped of surrounding white space and never empty.
    - Limits that protect the search engine (characters per query, queries per call) are applied here, so that they hold in every protocol.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MAX_QUERY_CHARS = 512
"""Maximum length of a query, in characters; a longer one is invalid."""
MAX_QUERIES = 10
"""Maximum number of queries per call."""
MAX_URL_CHARS = 2_000
MAX_ANSWER_CHARS = 10_000
"""Maximum length of an answer, in characters; longer answers are cut, which bounds judge prompts and token counts."""


@dataclass(frozen=True, slots=True)
class Search:
    """Look up passages. Example: `Search(("capital of Veldania",))`."""

    queries: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Visit:
    """Read a page. `goal` says what to look for on it; empty in protocols that don't support goals."""

    url: str
    goal: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """Give the final answer; ends the episode."""

    text: str


@dataclass(frozen=True, slots=True)
class Invalid:
    """A text that is not a valid action. `reason` is a clause that follows "The action is not valid: "."""

    reason: str


Action = Search | Visit | Answer | Invalid


def search(queries: Sequence[str]) -> Search | Invalid:
    """Return a search for these queries, or the reason why it is invalid."""
    cleaned = tuple(" ".join(query.split()) for query in queries)
    if not cleaned or not all(cleaned):
        return Invalid("the query is empty")
    if len(cleaned) > MAX_QUERIES:
        return Invalid(f"{len(cleaned)} queries in one call, at most {MAX_QUERIES} are answered")
    longest = max(map(len, cleaned))
    if longest > MAX_QUERY_CHARS:
        return Invalid(f"the query has {longest} characters, at most {MAX_QUERY_CHARS} are searched")
    return Search(cleaned)


def visit(url: str, goal: str = "") -> Visit | Invalid:
    """Return a visit to this address, or the reason why it is invalid."""
    url = url.strip()
    if not url:
        return Invalid("the address is empty")
    if len(url) > MAX_URL_CHARS or any(character.isspace() for character in url):
        return Invalid("the address is not one that can be visited")
    return Visit(url, goal.strip()[:MAX_QUERY_CHARS])


def answer(text: str) -> Answer | Invalid:
    """Return the final answer, or the reason why it is invalid."""
    text = text.strip()
    return Answer(text[:MAX_ANSWER_CHARS]) if text else Invalid("the answer is empty")
