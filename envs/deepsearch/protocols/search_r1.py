"""`search-r1`: `<search>`, `<information>`, `<answer>`, as Search-R1 (github PeterGriffinJin/Search-R1) defines them."""

from __future__ import annotations

from empg_gym.envs.deepsearch.protocols.tagged import TaggedProtocol


class SearchR1(TaggedProtocol):
    """The default. A search result is a list `Doc i(Title: "…") text` in `<information>` tags; `<visit>` is our addition."""

    name = "search-r1"
    stop = ("</search>", "</visit>", "</answer>")
    opening = "\n\n<information>"
    closing = "</information>\n\n"

    def grammar(self, visit: bool) -> str:
        visiting = " To read one page, write its address as <visit>address</visit>." if visit else ""
        return (
            "Whenever you have learnt something new, first think about it between <think> and </think>. "
            "To look something up, write <search>what to look for</search>; the passages found come back between <information> and "
            f"</information>.{visiting} You may search as often as you need to, one action a turn. As soon as you know the answer, write "
            "it between <answer> and </answer>, as short as possible and without an explanation, for example <answer>Lisbon</answer>."
        )
