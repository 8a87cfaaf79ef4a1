"""Agents without a model: the environment's own expert, and a random agent.

Both write their actions in the environment's dialogue format, so that their trajectories look like those of a language model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from empg_gym.agent_env import LLMAgentEnv
from empg_gym.agents.base import Agent, AgentInfo, BaseAgent, Message
from empg_gym.trajectory import Completion

_FREE_TEXT = re.compile(r"<([A-Za-z_][\w ]*)>")
_WORD = re.compile(r"\w[\w'-]*")
_LONGEST_PHRASE = 4


class ExpertAgent(BaseAgent):
    """Plays `TextEnv.expert()`; leaves the episode if the expert sees no way to success."""

    @property
    def info(self) -> AgentInfo:
        return AgentInfo(concurrency=1)

    def session(self, env: LLMAgentEnv, seed: int) -> Agent:
        return _Expert(env)


class _Expert:
    def __init__(self, env: LLMAgentEnv) -> None:
        self._env = env

    def act(self, messages: Sequence[Message], *, tools: list[dict[str, Any]] | None = None) -> Completion:
        action = self._env.text_env.expert()
        if action is None:
            return Completion(text="", stop=True)
        return Completion(text=self._env.dialogue.render("", action))


class RandomAgent(BaseAgent):
    """Plays uniformly among the admissible actions.

    Free text in a template, such as `<query>` in `search[<query>]`, becomes one to four consecutive words of the instruction.
    """

    @property
    def info(self) -> AgentInfo:
        return AgentInfo(concurrency=1)

    def session(self, env: LLMAgentEnv, seed: int) -> Agent:
        return _Random(env, np.random.default_rng(seed))


class _Random:
    def __init__(self, env: LLMAgentEnv, rng: np.random.Generator) -> None:
        self._env = env
        self._rng = rng

    def act(self, messages: Sequence[Message], *, tools: list[dict[str, Any]] | None = None) -> Completion:
        admissible = self._env.admissible_actions
        if not admissible:
            return Completion(text="", stop=True)
        template = admissible[int(self._rng.integers(len(admissible)))]
        action = fill(template, self._env.trajectory.instruction, self._rng)
        return Completion(text=self._env.dialogue.render("", action))


def fill(template: str, instruction: str, rng: np.random.Generator) -> str:
    """Return `template` with each `<name>` replaced by a phrase of the instruction; markup such as `<search>…</search>` stays."""
    words = _WORD.findall(instruction) or ["anything"]

    def phrase(match: re.Match[str]) -> str:
        if f"</{match.group(1)}>" in template:
            return match.group(0)
        length = min(int(rng.integers(1, _LONGEST_PHRASE + 1)), len(words))
        start = int(rng.integers(len(words) - length + 1))
        return " ".join(words[start : start + length])

    return _FREE_TEXT.sub(phrase, template)
