"""A person at the terminal as an agent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rich.markup import escape
from rich.panel import Panel

from empg_gym.agent_env import LLMAgentEnv
from empg_gym.agents.base import Agent, AgentInfo, BaseAgent, Message
from empg_gym.runs.terminal import Console
from empg_gym.trajectory import Completion

Prompt = Callable[[str, Sequence[str]], str | None]
"""Shows a message and the admissible actions; returns the action, or None if the person leaves."""

_LEAVE = frozenset({"quit", "exit", ":q"})


def read_action(message: str, admissible: Sequence[str], console: Console | None = None) -> str | None:
    """Show a message and read an action from the terminal.

    `?` lists the admissible actions, a number chooses one of that list, `quit` or the end of the input leaves the episode.
    """
    console = console or Console()
    console.print(Panel(escape(message), expand=False))
    while True:
        try:
            answer = console.input("[bold]action[/] (? lists, quit leaves) > ").strip()
        except EOFError:
            return None
        if answer in _LEAVE:
            return None
        if answer == "?":
            for number, action in enumerate(admissible, 1):
                console.print(f"{number:4d}  {escape(action)}", highlight=False)
        elif answer.isdecimal() and 1 <= int(answer) <= len(admissible) and answer not in admissible:
            return admissible[int(answer) - 1]
        elif answer:
            return answer


class HumanAgent(BaseAgent):
    """Asks a person, one episode after the other.

    Leaving in the middle of an episode continues with the next one; leaving at the first message, or Ctrl-C, ends the run.

    Args:
        prompt: how to ask; None reads from the terminal (`read_action`).
    """

    @property
    def info(self) -> AgentInfo:
        return AgentInfo(concurrency=1)

    def __init__(self, prompt: Prompt | None = None) -> None:
        self._prompt = prompt or read_action

    def session(self, env: LLMAgentEnv, seed: int) -> Agent:
        return _Human(env, self._prompt)


class _Human:
    def __init__(self, env: LLMAgentEnv, prompt: Prompt) -> None:
        self._env = env
        self._prompt = prompt

    def act(self, messages: Sequence[Message], *, tools: list[dict[str, Any]] | None = None) -> Completion:
        text = str(messages[-1]["content"])
        if not self._env.trajectory.steps:
            text = f"{self._env.trajectory.instruction}\n\n{text}"
        action = self._prompt(text, self._env.admissible_actions)
        if action is None and not self._env.trajectory.steps:
            raise KeyboardInterrupt
        if action is None:
            return Completion(text="", stop=True)
        return Completion(text=self._env.dialogue.render("", action))
