"""The benchmarks as `BaseTextEnv`.

What SkyRL asks for, and what follows:
    - A row of the data set reaches the environment as `extras`; the columns `env_id`, `split`, `task` and `seed` name the episode.
    - `init` returns the conversation to begin with and ignores the row's prompt: our first message depends on the episode.
    - The generator sets `max_turns`; the environment ends an episode there too, as the trainer would.
    - After the last step there are no observations, and the model's text is never replaced (`postprocessed_action` would change tokens).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import skyrl_gym
from skyrl_gym.envs.base_text_env import BaseTextEnv, BaseTextEnvStepOutput, ConversationType

from empg_gym.adapters.episode_task import EpisodeTask, episode_tasks
from empg_gym.adapters.session import Session
from empg_gym.chat_settings import ChatSettings
from empg_gym.registration import ENVIRONMENTS, short_name

IDS: dict[str, str | None] = {"empg": None, **{f"empg-{short_name(env_id)}": env_id for env_id in ENVIRONMENTS}}
"""SkyRL's id to the environment of rows that name none."""


class EMPGTextEnv(BaseTextEnv):  # type: ignore[misc]
    """One episode per instance.

    Args:
        env_config: `dialogue`, `show_admissible` and `system_prompt` as in `LLMAgentEnv`, and `kwargs` with arguments of
            `gymnasium.make`; None uses the defaults.
        extras: the columns of the row, and `max_turns`.
        env_id: the environment of a row without the column `env_id`.

    Raises:
        ConfigError: the row names no environment, or an unknown one.
    """

    def __init__(
        self, env_config: Mapping[str, Any] | None = None, extras: Mapping[str, Any] | None = None, env_id: str | None = None
    ) -> None:
        super().__init__()
        config, columns = dict(env_config or {}), dict(extras or {})
        self._task = EpisodeTask.from_columns(columns, env_id=env_id)
        chat = {name: config[name] for name in ("dialogue", "show_admissible", "system_prompt") if config.get(name) is not None}
        self._session = Session(dict(config.get("kwargs") or {}), chat=ChatSettings(**chat))
        self.max_turns = int(columns.get("max_turns") or 10**9)

    @property
    def session(self) -> Session:
        """The episode with its record."""
        return self._session

    def init(self, prompt: ConversationType) -> tuple[ConversationType, dict[str, Any]]:
        """Start the episode; returns its first messages, and its columns."""
        self.turns = 0
        self._session.reset(self._task)
        return self._session.env.messages, self._task.columns()

    def step(self, action: str) -> BaseTextEnvStepOutput:
        """Carry out the model's response."""
        reply = self._session.step(action)
        self.turns += 1
        done = reply.done or self.turns >= self.max_turns
        return BaseTextEnvStepOutput(
            observations=[] if done else [{"role": "user", "content": reply.message}],
            reward=reply.reward,
            done=done,
            metadata={"terminated": reply.terminated, "truncated": reply.truncated or (not reply.done and done), "message": reply.message},
        )

    def get_metrics(self) -> dict[str, Any]:
        """Return score, success, steps and others of the episode."""
        return dict(self._session.metrics)

    def close(self) -> None:
        self._session.close()


def register() -> None:
    """Register `empg` and one id per benchmark with SkyRL-gym, in this process: call it in the entry point's Ray task."""
    for name, env_id in IDS.items():
        if name not in skyrl_gym.envs.registration.registry:
            kwargs = {} if env_id is None else {"env_id": env_id}
            skyrl_gym.register(id=name, entry_point="empg_gym.adapters.skyrl.environment:EMPGTextEnv", kwargs=kwargs)


def skyrl_rows(env_id: str, *, split: str = "train", limit: int | None = None, seed: int = 0, **kwargs: Any) -> list[dict[str, Any]]:
    """Return the rows of a data set: `prompt` (replaced at the start of an episode), `env_class` and the columns of the episode.

    Arguments and errors are those of `episode_tasks`.
    """
    tasks = episode_tasks(env_id, split=split, limit=limit, seed=seed, **kwargs)
    return [{"prompt": [{"role": "user", "content": task.env_id}], "env_class": "empg", **task.columns()} for task in tasks]
