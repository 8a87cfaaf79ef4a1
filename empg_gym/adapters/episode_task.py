"""`EpisodeTask`: which episode to play, as columns of any framework's data set."""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from empg_gym.adapters.opening import open_env, resolve_id
from empg_gym.chat_settings import ChatSettings
from empg_gym.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeTask:
    """One episode. Equal tasks give equal episodes for equal responses.

    Example:
        `EpisodeTask(env_id="EMPG/ALFWorld-v0", split="train", task="train-17", seed=17)`
    """

    env_id: str
    """Registered id, its short form, or the URL of a served environment."""
    split: str
    task: str | int | None = None
    """Task id, or index into the split; None draws the task from the seed."""
    seed: int = 0

    @classmethod
    def from_columns(cls, columns: Mapping[str, Any], *, env_id: str | None = None, split: str = "train") -> EpisodeTask:
        """Read the columns `env_id`, `split`, `task` and `seed`; all others are ignored, and NumPy scalars are accepted.

        Args:
            columns: a row of a data set.
            env_id: the environment of a row without the column; None requires it.
            split: the split of a row without the column.

        Raises:
            ConfigError: the row names no environment or an unknown one, or its seed is not an integer.
        """
        named = columns.get("env_id")
        named = env_id if named is None else str(named)
        if named is None:
            raise ConfigError('a row names its environment in the column "env_id", such as "EMPG/ALFWorld-v0"; this row lacks it')
        own_split, task, seed = (columns.get(name) for name in ("split", "task", "seed"))
        return cls(
            env_id=resolve_id(named),
            split=split if own_split is None else str(own_split),
            task=None if task is None else str(task) if isinstance(task, str) else _integer("task", task),
            seed=0 if seed is None else _integer("seed", seed),
        )

    def columns(self) -> dict[str, Any]:
        """Return the task as columns of a data set; `task` as text, so that every row has the same type."""
        return {**asdict(self), "task": None if self.task is None else str(self.task)}


def episode_tasks(env_id: str, *, split: str = "train", limit: int | None = None, seed: int = 0, **kwargs: Any) -> list[EpisodeTask]:
    """Return the first tasks of a split; task i has the seed `seed + i`.

    Args:
        env_id: registered id, its short form, or the URL of a served environment.
        split: name of the split.
        limit: number of tasks; None returns all.
        seed: seed of the first task.
        kwargs: further arguments of `gymnasium.make`.

    Raises:
        ConfigError: the id, the split or an argument is unknown, or the limit is negative.
    """
    if limit is not None and limit < 0:
        raise ConfigError(f"limit must be None (all tasks) or a number of at least 0, not {limit}")
    name = resolve_id(env_id)
    with contextlib.closing(open_env(name, split, kwargs, ChatSettings())) as made:
        env = made.text_env
        count = env.num_tasks if limit is None else min(limit, env.num_tasks)
        return [EpisodeTask(env_id=name, split=split, task=env.task_id(index), seed=seed + index) for index in range(count)]


def _integer(name: str, value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise ConfigError(f"the column {name!r} must hold an integer, not {value!r}") from None
