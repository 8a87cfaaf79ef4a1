"""`hermes`: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, answered by `<tool_response>`.

As in Qwen's chat template, WebSailor and Tongyi DeepResearch.

Rules:
    - The argument names of WebSailor (`query`, `url`, `goal`) and of verl (`query_list`) are both accepted; values are strings or lists.
    - Arguments may also be a JSON string, as in chat APIs.
    - The answer is `<answer>…</answer>`, or a call of the tool `answer`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from empg_gym.envs.deepsearch.actions import Action, Invalid, Search, Visit, answer, search, visit
from empg_gym.envs.deepsearch.protocols.base import QueryResult
from empg_gym.envs.deepsearch.protocols.tagged import TaggedProtocol

MAX_CALL_CHARS = 100_000
"""Maximum length of a tool call, in characters; a longer one is not decoded."""
_EXAMPLE = '{"name": "search", "arguments": {"query": ["…"]}}'


class Hermes(TaggedProtocol):
    """Tool calls in JSON; several queries in one call are allowed."""

    name = "hermes"
    stop = ("</tool_call>", "</answer>")
    search_tag = "tool_call"
    visit_tag = "tool_call"
    many_queries = True
    opening = "<tool_response>\n"
    closing = "\n</tool_response>"

    def _read(self, tag: str, content: str) -> Action:
        return read_call(content) if tag == "tool_call" else super()._read(tag, content)

    def write(self, action: Action, thought: str = "") -> str:
        match action:
            case Search(queries):
                body = _call("search", {"query": list(queries)})
            case Visit(url, goal):
                body = _call("visit", {"url": url, "goal": goal})
            case _:
                return super().write(action, thought)
        return f"<think>{thought}</think>\n{body}" if thought else body

    def results(self, results: Sequence[QueryResult]) -> str:
        return "\n=======\n".join(result.problem or self._listed(result) for result in results)

    def _listed(self, result: QueryResult) -> str:
        if not result.passages:
            return f"A search for '{result.query}' found nothing."
        listed = "\n\n".join(f"{rank}. [{found.title}]({found.url})\n\n{found.text}" for rank, found in enumerate(result.passages, start=1))
        return f"A search for '{result.query}' found {len(result.passages)} results:\n\n## Results\n{listed}"

    def page(self, url: str, goal: str, text: str) -> str:
        wanted = f" for the goal '{goal}'" if goal else ""
        return f"The page {url}{wanted}:\n\n{text}"

    def grammar(self, visit: bool) -> str:
        tools = "search, with a list of queries" + (", and visit, with an address and what you look for there" if visit else "")
        visiting = 'or <tool_call>{"name": "visit", "arguments": {"url": "…", "goal": "…"}}</tool_call>. ' if visit else ""
        return (
            f"Think between <think> and </think>, then call one tool or answer. The tools are {tools}. "
            f"A call is written <tool_call>{_EXAMPLE}</tool_call> {visiting}"
            "Its result comes back between <tool_response> and </tool_response>. The final answer is written <answer>short answer</answer>."
        )

    def templates(self, visit: bool) -> list[str]:
        kinds = ['<tool_call>{"name": "search", "arguments": {"query": ["<query>"]}}</tool_call>', "<answer><text></answer>"]
        if visit:
            kinds.insert(1, '<tool_call>{"name": "visit", "arguments": {"url": "<url>", "goal": "<goal>"}}</tool_call>')
        return kinds


def _call(name: str, arguments: dict[str, Any]) -> str:
    call = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False).replace("</", "<\\/")
    return f"<tool_call>{call}</tool_call>"


def read_call(text: str) -> Action:
    """Return the action of a JSON tool call, or the reason why it is invalid."""
    if len(text) > MAX_CALL_CHARS:
        return Invalid(f"the tool call has {len(text)} characters, at most {MAX_CALL_CHARS} are read")
    try:
        call = json.loads(text)
    except (ValueError, RecursionError):
        return Invalid(f"the tool call is not JSON; write {_EXAMPLE}")
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        return Invalid(f'the tool call needs "name" and "arguments"; write {_EXAMPLE}')
    return call_action(call["name"], call.get("arguments", {}))


def call_action(name: str, arguments: object) -> Action:
    """Return the action of a call of the tool `name`, or the reason why it is invalid."""
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments[:MAX_CALL_CHARS])
        except (ValueError, RecursionError):
            return Invalid("the arguments are not JSON")
    if not isinstance(arguments, dict):
        return Invalid("the arguments are not an object")
    if name == "search":
        return _texts(arguments, ("query", "query_list", "queries"), search)
    if name == "visit":
        goal = arguments.get("goal", "")
        return _texts(arguments, ("url", "urls"), lambda urls: _one(urls, goal if isinstance(goal, str) else ""))
    if name == "answer":
        return _texts(arguments, ("answer", "text"), lambda texts: answer(texts[0]) if len(texts) == 1 else Invalid("give one answer"))
    return Invalid(f"there is no tool {name[:40]!r}; there are search, visit and answer")


def _one(urls: Sequence[str], goal: str) -> Action:
    return visit(urls[0], goal) if len(urls) == 1 else Invalid("visit one address a call")


def _texts(arguments: dict[str, Any], names: tuple[str, ...], build: Callable[[list[str]], Action]) -> Action:
    given = next((arguments[name] for name in names if name in arguments), None)
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        return Invalid(f'the argument "{names[0]}" must be a text or a list of texts')
    return build(texts)
