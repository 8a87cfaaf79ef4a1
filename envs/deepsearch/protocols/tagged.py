"""Base of the protocols with `<tag>text</tag>` actions.

Rules:
    - The first closing action tag ends the response; everything after it is ignored.
    - The action's text begins after the last opening tag of the same name: a tag mentioned in a thought does no harm.
    - Tags inside the action's text make the action invalid.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from empg_gym.envs.deepsearch import tags
from empg_gym.envs.deepsearch.actions import Action, Answer, Invalid, Search, Visit, answer, search, visit
from empg_gym.envs.deepsearch.protocols.base import Parsed, Protocol, QueryResult


class TaggedProtocol(Protocol):
    """Base class of search-r1, arpo, asearcher and hermes."""

    search_tag: ClassVar[str] = "search"
    visit_tag: ClassVar[str] = "visit"
    other_tags: ClassVar[tuple[str, ...]] = ()
    """Closing tags that also end a response, although the environment lacks the tool."""

    @property
    def _closers(self) -> tuple[str, ...]:
        return (self.search_tag, self.visit_tag, "answer", *self.other_tags)

    def parse(self, text: str) -> Parsed:
        ends = [(text.find(f"</{tag}>"), tag) for tag in self._closers]
        ends = [end for end in ends if end[0] >= 0]
        if not ends:
            return Parsed(Invalid(self._incomplete(text)), tags.drop_forged_results(text))
        end, tag = min(ends)
        kept = tags.drop_forged_results(text[: end + len(tag) + 3])
        begin = text.rfind(f"<{tag}>", 0, end)
        if begin < 0:
            return Parsed(Invalid(f"</{tag}> closes nothing"), kept)
        return Parsed(self._read(tag, text[begin + len(tag) + 2 : end]), kept)

    def _incomplete(self, text: str) -> str:
        opened = [tag for tag in self._closers if f"<{tag}>" in text]
        return f"<{opened[0]}> is not closed" if opened else "it holds no action"

    def _read(self, tag: str, content: str) -> Action:
        if tags.neutralise(content) != content and any(f"<{name}" in content or f"</{name}" in content for name in tags.TAGS):
            return Invalid("tags inside an action")
        if tag == self.search_tag:
            return search([content])
        if tag == self.visit_tag:
            return visit(content)
        if tag == "answer":
            return answer(self._final(content))
        return Invalid(f"there is no tool for <{tag}>")

    def _final(self, content: str) -> str:
        return content

    def write(self, action: Action, thought: str = "") -> str:
        match action:
            case Search(queries):
                body = f"<{self.search_tag}>" + " ".join(queries) + f"</{self.search_tag}>"
            case Visit(url, _):
                body = f"<{self.visit_tag}>{url}</{self.visit_tag}>"
            case Answer(text):
                body = f"<answer>{text}</answer>"
            case Invalid(reason):
                body = reason
        return f"<think>{thought}</think>\n{body}" if thought else body

    def results(self, results: Sequence[QueryResult]) -> str:
        return "\n\n".join(result.problem or self._listed(result) for result in results)

    def _listed(self, result: QueryResult) -> str:
        if not result.passages:
            return "Nothing was found."
        return "\n".join(f'Doc {rank}(Title: "{passage.title}") {passage.text}' for rank, passage in enumerate(result.passages, start=1))

    def page(self, url: str, goal: str, text: str) -> str:
        return f"Page {url}\n{text}"

    def templates(self, visit: bool) -> list[str]:
        kinds = [f"<{self.search_tag}><query></{self.search_tag}>", "<answer><text></answer>"]
        if visit:
            kinds.insert(1, f"<{self.visit_tag}><url></{self.visit_tag}>")
        return kinds
