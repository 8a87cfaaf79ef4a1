"""`arpo`: `<search>`, `<result>`, `<answer>…\\boxed{}…</answer>`, as ARPO and AEPO (github dongguanting/ARPO) define them."""

from __future__ import annotations

from empg_gym.envs.deepsearch.actions import Action, Answer
from empg_gym.envs.deepsearch.protocols.base import QueryResult
from empg_gym.envs.deepsearch.protocols.tagged import TaggedProtocol


class Arpo(TaggedProtocol):
    """The final answer is in `\\boxed{}` inside `<answer>`. Python is not supported: `<python>` is an invalid action."""

    name = "arpo"
    stop = ("</search>", "</visit>", "</python>", "</answer>")
    other_tags = ("python",)
    opening = "<result>\n"
    closing = "\n</result>"

    def _final(self, content: str) -> str:
        boxed = unbox(content)
        return content if boxed is None else boxed

    def write(self, action: Action, thought: str = "") -> str:
        if isinstance(action, Answer):
            action = Answer(f"The final answer is \\[ \\boxed{{{action.text}}} \\]")
        return super().write(action, thought)

    def _listed(self, result: QueryResult) -> str:
        if not result.passages:
            return "Nothing was found."
        return "\n".join(f"Page {rank}: {passage.title}: {passage.text}" for rank, passage in enumerate(result.passages, start=1))

    def grammar(self, visit: bool) -> str:
        visiting = " <visit>address</visit> reads one page." if visit else ""
        return (
            "Think step by step between <think> and </think>. When knowledge is missing, call the search engine: <search>query</search>; "
            f"what it finds comes back between <result> and </result>.{visiting} Make one call a turn. Give the final answer in the form "
            "<answer> The final answer is \\[ \\boxed{short answer} \\] </answer>."
        )


def unbox(text: str) -> str | None:
    """Return the content of the last `\\boxed{…}` in `text`, with balanced braces, or None if there is none."""
    begin = text.rfind("\\boxed{")
    if begin < 0:
        return None
    depth, start = 1, begin + len("\\boxed{")
    for position in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return text[start:position]
    return None
