"""The dialogue of agents that call tools: a response without a call is malformed."""

from __future__ import annotations

from empg_gym.dialogue import Dialogue, Parsed


class ToolDialogue(Dialogue):
    """Actions are tool calls, which the agent wrapper reads before any text; the text next to a call is the thought."""

    name = "tool-calls"
    suits_native = True

    def format_rules(self) -> str:
        return "Think first, then act by calling exactly one of the given tools."

    def parse(self, response: str) -> Parsed:
        return Parsed(response.strip(), "", "it calls no tool")

    def render(self, thought: str, action: str) -> str:
        return f"{thought}\n{action}".strip()
