"""The tasks of a split as a verifiers taskset."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import verifiers.v1 as vf

from empg_gym.adapters.episode_task import EpisodeTask, episode_tasks
from empg_gym.adapters.opening import open_env, resolve_id
from empg_gym.chat_settings import ChatSettings


class EMPGData(vf.TaskData):  # type: ignore[misc]
    """A task: which episode, and how the environment is made."""

    env_id: str
    split: str
    task: str
    seed: int
    env_kwargs: dict[str, Any]
    """Keyword arguments of `gymnasium.make`, without the split."""
    dialogue: str | None = None
    """None: the environment's native protocol, or think-action."""

    @property
    def episode(self) -> EpisodeTask:
        """The episode."""
        return EpisodeTask(env_id=self.env_id, split=self.split, task=self.task, seed=self.seed)

    @property
    def chat(self) -> ChatSettings:
        """The chat settings."""
        return ChatSettings(dialogue=self.dialogue)


class EMPGTask(vf.Task[EMPGData]):  # type: ignore[misc]
    """Rewards and metrics are recorded by `EMPGEnv`, which has the environment."""


class EMPGTasksetConfig(vf.TasksetConfig):  # type: ignore[misc]
    """Options of the taskset: `--env.taskset.env-id webshop --env.taskset.split test`."""

    env_id: str = "EMPG/ALFWorld-v0"
    """Environment: its id, its short form, or the URL of a served one."""
    split: str = "train"
    """Split of the tasks."""
    seed: int = 0
    """Seed of the first task; task i has the seed `seed + i`."""
    dialogue: str | None = None
    """Dialogue format; None: the environment's native protocol, or think-action."""
    env_kwargs: dict[str, Any] = {}  # noqa: RUF012 (pydantic copies it)
    """Further keyword arguments of `gymnasium.make`."""


class EMPGTaskset(vf.Taskset[EMPGTask, EMPGTasksetConfig]):  # type: ignore[misc]
    """The tasks of a split, in their order."""

    def load(self) -> Iterator[EMPGTask]:
        """Yield the tasks.

        Raises:
            ConfigError: the environment, the split, the dialogue or an argument is unknown.
        """
        config = self.config
        name = resolve_id(config.env_id)
        with contextlib.closing(open_env(name, config.split, config.env_kwargs, ChatSettings(dialogue=config.dialogue))) as env:
            system_prompt = env.system_prompt or None
        for episode in episode_tasks(name, split=config.split, seed=config.seed, **config.env_kwargs):
            task = str(episode.task)
            data = EMPGData(
                id=task,
                name=f"{name} {task}",
                system_prompt=system_prompt,
                env_id=name,
                split=config.split,
                task=task,
                seed=episode.seed,
                env_kwargs=dict(config.env_kwargs),
                dialogue=config.dialogue,
            )
            yield EMPGTask(data, config.task)
