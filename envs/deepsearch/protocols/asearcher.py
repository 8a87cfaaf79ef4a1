"""`asearcher`: `<search>`, `<access>`, `<information>`, `<answer>`, as ASearcher (github inclusionAI/ASearcher) defines them."""

from __future__ import annotations

from empg_gym.envs.deepsearch.protocols.base import QueryResult
from empg_gym.envs.deepsearch.protocols.tagged import TaggedProtocol

PAGE_CHARS = 25_000
"""Length of one page of a visited document, in characters."""


class ASearcher(TaggedProtocol):
    """Results include their address, which `<access>` opens; long documents are shown as numbered pages of 25,000 characters."""

    name = "asearcher"
    stop = ("</search>", "</access>", "</answer>")
    visit_tag = "access"
    opening = "<information>\n"
    closing = "\n</information>"

    def _listed(self, result: QueryResult) -> str:
        if not result.passages:
            return "No search results are found."
        return "\n\n".join(
            f'[Doc {rank}]({found.url}):\n"{found.title}"\n{found.text}' for rank, found in enumerate(result.passages, start=1)
        )

    def page(self, url: str, goal: str, text: str) -> str:
        parts = [text[begin : begin + PAGE_CHARS] for begin in range(0, max(1, len(text)), PAGE_CHARS)]
        return "\n\n".join(f">>>> Page {number} >>>>\n\n{part}" for number, part in enumerate(parts, start=1))

    def grammar(self, visit: bool) -> str:
        visiting = " Read a page in full with <access>address</access>; addresses stand in the search results." if visit else ""
        return (
            "Solve the question step by step; think between <think> and </think> before you act. "
            f"Search with <search>query</search>.{visiting} What comes back stands between <information> and </information>. "
            "Act once a turn. When you are sure, give the answer as <answer>short answer</answer>."
        )
