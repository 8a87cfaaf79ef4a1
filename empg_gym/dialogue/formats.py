"""The dialogue formats, by name. `native` passes responses on to an environment that reads a protocol of its own."""

from __future__ import annotations

import re

from empg_gym.dialogue.base import Dialogue, Parsed
from empg_gym.errors import ConfigError, nearest

_THINK = re.compile(r"<think>(.*?)</think>", re.DOTALL)
_ACTION = re.compile(r"<action>(.*?)</action>", re.DOTALL)
_REACT_ACTION = re.compile(r"^[ \t]*Action[ \t]*:[ \t]*(.*?)[ \t]*$", re.MULTILINE | re.IGNORECASE)
_REACT_THOUGHT = re.compile(r"^[ \t]*Thought[ \t]*:[ \t]*", re.IGNORECASE)


class ThinkAction(Dialogue):
    """`<think>reasoning</think><action>one action</action>`, as verl-agent and its successors prompt for."""

    name = "think-action"

    def format_rules(self) -> str:
        return (
            "First reason about the situation between <think> and </think>. "
            "Then give exactly one action between <action> and </action>, and nothing after it."
        )

    def parse(self, response: str) -> Parsed:
        thought = _THINK.search(response)
        rest = response[thought.end() :] if thought else response
        actions = _ACTION.findall(rest)
        reasoning = thought.group(1).strip() if thought else rest.split("<action>", 1)[0].strip()
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
    """`Thought: …` and `Action: …` on lines of their own (Yao et al. 2023)."""

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
        if not actions[0].group(1):
            return Parsed(thought, "", "the action is empty")
        return Parsed(thought, actions[0].group(1))

    def render(self, thought: str, action: str) -> str:
        return f"Thought: {thought}\nAction: {action}"


class Plain(Dialogue):
    """The response is the action; a `<think>…</think>` before it is the thought."""

    name = "plain"

    def format_rules(self) -> str:
        return "Answer with one action and nothing else."

    def parse(self, response: str) -> Parsed:
        thought = _THINK.match(response.lstrip())
        if thought is None:
            return Parsed("", response.strip())
        return Parsed(thought.group(1).strip(), response.lstrip()[thought.end() :].strip())

    def render(self, thought: str, action: str) -> str:
        return f"<think>{thought}</think>{action}" if thought else action


class Native(Plain):
    """The environment reads the whole response in a protocol of its own, which its rules describe."""

    name = "native"

    def format_rules(self) -> str:
        return ""

    def parse(self, response: str) -> Parsed:
        thoughts = _THINK.findall(response)
        return Parsed("\n".join(thought.strip() for thought in thoughts), response)

    def render(self, thought: str, action: str) -> str:
        return f"<think>{thought}</think>\n{action}" if thought else action


DIALOGUES: dict[str, type[Dialogue]] = {cls.name: cls for cls in (ThinkAction, ReAct, Plain, Native)}
"""Name to class."""


def get_dialogue(dialogue: str | Dialogue) -> Dialogue:
    """Return the dialogue format of that name, or `dialogue` itself if it is one.

    Raises:
        ConfigError: no format of that name.
    """
    if isinstance(dialogue, Dialogue):
        return dialogue
    if dialogue not in DIALOGUES:
        raise ConfigError(f"unknown dialogue format {dialogue!r}; {nearest(dialogue, DIALOGUES)}")
    return DIALOGUES[dialogue]()
