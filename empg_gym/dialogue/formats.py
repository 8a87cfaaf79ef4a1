"""The dialogue formats, by name. `native` passes responses through to an environment with a native protocol."""

from __future__ import annotations

import re
from collections.abc import Iterator

from empg_gym.dialogue.base import Dialogue, Parsed
from empg_gym.errors import ConfigError, nearest

_REACT_ACTION = re.compile(r"^[ \t]*Action[ \t]*:", re.MULTILINE | re.IGNORECASE)
_REACT_THOUGHT = re.compile(r"^[ \t]*Thought[ \t]*:[ \t]*", re.IGNORECASE)


def _tagged(text: str, tag: str) -> Iterator[tuple[str, int]]:
    """Yield each text between `<tag>` and the next `</tag>`, and where its closing tag ends."""
    # A lazy expression searches for the closing tag again from every opening tag: quadratic when a model repeats itself.
    opening, closing = f"<{tag}>", f"</{tag}>"
    end = 0
    while (start := text.find(opening, end)) >= 0:
        start += len(opening)
        stop = text.find(closing, start)
        if stop < 0:
            return
        end = stop + len(closing)
        yield text[start:stop], end


class ThinkAction(Dialogue):
    """`<think>reasoning</think><action>one action</action>`, as verl-agent and its successors prompt for."""

    name = "think-action"

    def format_rules(self) -> str:
        return (
            "First reason about the situation between <think> and </think>. "
            "Then give exactly one action between <action> and </action>, and nothing after it."
        )

    def parse(self, response: str) -> Parsed:
        thought, end = next(_tagged(response, "think"), (None, 0))
        rest = response[end:]
        actions = [action for action, _ in _tagged(rest, "action")]
        reasoning = (rest.split("<action>", 1)[0] if thought is None else thought).strip()
        if not actions:
            return Parsed(reasoning, "", "it has no <action>…</action>")
        if len(actions) > 1:
            return Parsed(reasoning, "", f"it has {len(actions)} actions, one is expected")
        if not actions[0].strip():
            return Parsed(reasoning, "", "the action is empty")
        return Parsed(reasoning, actions[0].strip())

    def render(self, thought: str, action: str) -> str:
        return f"<think>{thought}</think><action>{action}</action>"


class ReAct(Dialogue):
    """`Thought: …` and `Action: …` on separate lines (Yao et al. 2023)."""

    name = "react"

    def format_rules(self) -> str:
        return 'Answer with a line "Thought: your reasoning" and then one line "Action: one action", and nothing after it.'

    def parse(self, response: str) -> Parsed:
        actions = list(_REACT_ACTION.finditer(response))
        thought = _REACT_THOUGHT.sub("", response[: actions[0].start()] if actions else response).strip()
        if not actions:
            return Parsed(thought, "", 'it has no line that begins with "Action:"')
        if len(actions) > 1:
            return Parsed(thought, "", f'it has {len(actions)} lines that begin with "Action:", one is expected')
        action = response[actions[0].end() :].split("\n", 1)[0].strip(" \t")
        return Parsed(thought, action) if action else Parsed(thought, "", "the action is empty")

    def render(self, thought: str, action: str) -> str:
        return f"Thought: {thought}\nAction: {action}"


class Plain(Dialogue):
    """The response is the action; a `<think>…</think>` before it is the thought."""

    name = "plain"

    def format_rules(self) -> str:
        return "Answer with one action and nothing else."

    def parse(self, response: str) -> Parsed:
        response = response.strip()
        thought, end = next(_tagged(response, "think"), ("", 0)) if response.startswith("<think>") else ("", 0)
        return Parsed(thought.strip(), response[end:].strip())

    def render(self, thought: str, action: str) -> str:
        return f"<think>{thought}</think>{action}" if thought else action


class Native(Plain):
    """The environment reads the whole response in its native protocol, which its rules describe."""

    name = "native"
    suits_native = True

    def format_rules(self) -> str:
        return ""

    def parse(self, response: str) -> Parsed:
        return Parsed("\n".join(thought.strip() for thought, _ in _tagged(response, "think")), response)

    def render(self, thought: str, action: str) -> str:
        return f"<think>{thought}</think>\n{action}" if thought else action


DIALOGUES: dict[str, type[Dialogue]] = {cls.name: cls for cls in (ThinkAction, ReAct, Plain, Native)}
"""Name to class."""


def get_dialogue(dialogue: str | Dialogue) -> Dialogue:
    """Return the dialogue format of that name, or `dialogue` itself if it is one.

    Raises:
        ConfigError: the name is unknown.
    """
    if isinstance(dialogue, Dialogue):
        return dialogue
    if dialogue not in DIALOGUES:
        raise ConfigError(f"unknown dialogue format {dialogue!r}; {nearest(dialogue, DIALOGUES)}")
    return DIALOGUES[dialogue]()
