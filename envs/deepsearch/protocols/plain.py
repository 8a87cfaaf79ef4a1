"""`plain`: `search[…]`, `visit[…]`, `answer[…]`, one action per text, for the bare Gymnasium interface and for any dialogue format."""

from __future__ import annotations

import re
from collections.abc import Sequence

from empg_gym.envs.deepsearch import tags
from empg_gym.envs.deepsearch.actions import Action, Answer, Invalid, Search, Visit, answer, search, visit
from empg_gym.envs.deepsearch.protocols.base import Parsed, Protocol, QueryResult

_ACTION = re.compile(r"\s*(search|visit|answer)\s*\[", re.IGNORECASE)


class Plain(Protocol):
    """The text is the action, from the verb to the last bracket; brackets inside the argument are part of it."""

    name = "plain"

    def parse(self, text: str) -> Parsed:
        return Parsed(self._read(text), tags.drop_forged_results(text))

    def _read(self, text: str) -> Action:
        verb = _ACTION.match(text)
        if verb is None:
            return Invalid("it is none of search[query], visit[address], answer[text]")
        rest = text[verb.end() :].rstrip()
        if not rest.endswith("]"):
            return Invalid("the closing bracket is missing")
        argument = rest[:-1]
        kind = verb.group(1).lower()
        if kind == "search":
            return search([argument])
        if kind == "visit":
            return visit(argument)
        return answer(argument)

    def write(self, action: Action, thought: str = "") -> str:
        match action:
            case Search(queries):
                return "search[" + " ".join(queries) + "]"
            case Visit(url, _):
                return f"visit[{url}]"
            case Answer(text):
                return f"answer[{text}]"
            case Invalid(reason):
                return reason

    def results(self, results: Sequence[QueryResult]) -> str:
        return "\n\n".join(result.problem or self._listed(result) for result in results)

    def _listed(self, result: QueryResult) -> str:
        if not result.passages:
            return "Nothing was found."
        return "\n".join(
            f"[{rank}] {found.title}: {found.text}" + (f" ({found.url})" if found.url else "")
            for rank, found in enumerate(result.passages, start=1)
        )

    def page(self, url: str, goal: str, text: str) -> str:
        return f"Page {url}\n{text}"

    def grammar(self, visit: bool) -> str:
        visiting = "visit[address] reads one page. " if visit else ""
        return (
            f"search[query] looks up passages. {visiting}answer[text] gives the final answer, as short as possible, and ends the episode. "
            "One action a turn."
        )

    def templates(self, visit: bool) -> list[str]:
        return ["search[<query>]", *(["visit[<url>]"] if visit else []), "answer[<text>]"]
