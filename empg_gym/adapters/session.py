"""`Session`: an environment that a framework plays episode after episode.

Rules:
    - `reset` starts the episode of a task; an environment is made once per id and split and then reused.
    - A step after the end changes nothing: it returns `OVER` with reward 0, as some frameworks have no signal for the end.
    - The trajectory is recorded as everywhere else (`LLMAgentEnv`), so that what a framework played can be exported and scored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from empg_gym.adapters.episode_task import EpisodeTask
from empg_gym.adapters.opening import open_env
from empg_gym.agent_env import LLMAgentEnv
from empg_gym.chat_settings import ChatSettings
from empg_gym.errors import TaskError
from empg_gym.trajectory import Completion, Trajectory

OVER = "The episode is over."
"""Answer to a step after the end."""


class Reply(NamedTuple):
    """What the environment answers."""

    message: str
    reward: float
    terminated: bool
    truncated: bool

    @property
    def done(self) -> bool:
        """Whether the episode is over."""
        return self.terminated or self.truncated


class Session:
    """Plays one episode at a time.

    Args:
        kwargs: keyword arguments of `gymnasium.make`, the split aside, which is the task's.
        chat: dialogue and prompt settings.

    Example:
        >>> session = Session(chat=ChatSettings(dialogue="plain"))
        >>> session.reset(EpisodeTask(env_id="alfworld", split="train", task=3))
        >>> reply = session.step("go to shelf 1")
    """

    def __init__(self, kwargs: Mapping[str, Any] | None = None, *, chat: ChatSettings | None = None) -> None:
        self._kwargs = dict(kwargs or {})
        self._chat = chat or ChatSettings()
        self._made: tuple[tuple[str, str], LLMAgentEnv] | None = None
        self._last = Reply("", 0.0, False, False)

    def reset(self, task: EpisodeTask) -> str:
        """Start an episode and return the first message.

        Raises:
            ConfigError: the environment, the split or an argument is unknown.
            TaskError: the split lacks the task.
            EnvironmentFailure: the environment is served, and its server does not answer, refuses, or is full.
        """
        env = self._env(task.env_id, task.split)
        message, _ = env.reset(seed=task.seed, options=None if task.task is None else {"task": task.task})
        self._last = Reply(message, 0.0, False, False)
        return message

    def step(self, response: str | Completion) -> Reply:
        """Carry out the model's response.

        Raises:
            TaskError: before the first reset.
        """
        if self._last.done:
            return self._last._replace(message=OVER, reward=0.0)
        message, reward, terminated, truncated, _ = self.env.step(response)
        self._last = Reply(message, float(reward), terminated, truncated)
        return self._last

    @property
    def env(self) -> LLMAgentEnv:
        """The environment of the current episode.

        Raises:
            TaskError: before the first reset.
        """
        if self._made is None:
            raise TaskError("no episode yet: call reset() before step()")
        return self._made[1]

    @property
    def trajectory(self) -> Trajectory:
        """The record of the episode so far; raises what `env` raises."""
        return self.env.trajectory

    @property
    def last(self) -> Reply:
        """The latest reply; after a reset the first message, with reward 0."""
        return self._last

    @property
    def metrics(self) -> dict[str, float]:
        """Reward, score, success and number of steps so far, and the shares of malformed and invalid actions."""
        trajectory = self.trajectory
        steps = trajectory.steps
        count = max(1, len(steps))
        return {
            "reward": trajectory.total_reward,
            "score": trajectory.score,
            "success": float(trajectory.success),
            "steps": float(len(steps)),
            "malformed": sum(step.malformed for step in steps) / count,
            "invalid_actions": sum(not step.valid_action for step in steps) / count,
        }

    def close(self) -> None:
        """Close the environment; the session can be reset again."""
        if self._made is not None:
            self._made[1].close()
            self._made = None

    def _env(self, env_id: str, split: str) -> LLMAgentEnv:
        if self._made is None or self._made[0] != (env_id, split):
            self.close()
            self._made = (env_id, split), open_env(env_id, split, self._kwargs, self._chat)
        return self._made[1]
