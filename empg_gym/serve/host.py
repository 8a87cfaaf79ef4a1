"""`EnvHost`: the environments of one recipe, for all sessions of a process."""

from __future__ import annotations

import inspect
import threading
from pathlib import Path
from typing import Any

import gymnasium as gym

from empg_gym.env import TextEnv
from empg_gym.errors import EMPGGymError
from empg_gym.recipe import EnvRecipe


class EnvHost:
    """Makes environments and lists tasks.

    Args:
        name: short name of the environment, part of addresses.
        recipe: the environment; its split is the default.
    """

    def __init__(self, name: str, recipe: EnvRecipe) -> None:
        self.name = name
        self._recipe = recipe
        # Data is read when the first environment is made: once, not once per thread.
        self._lock = threading.Lock()
        self._catalogs: dict[str | None, TextEnv] = {}

    @property
    def env_id(self) -> str:
        """Id of the environment."""
        return self._recipe.env_id

    def make(self, split: str | None = None) -> gym.Env[Any, Any]:
        """Return a new environment; None is the default split.

        Raises:
            EMPGGymError: what making the environment raises.
        """
        with self._lock:
            return self._recipe_of(split).make_env()

    def catalog(self, split: str | None = None) -> TextEnv:
        """Return an environment that is never stepped, for questions about a split and its tasks.

        Raises:
            EMPGGymError: what making the environment raises.
        """
        if split not in self._catalogs:
            env = self.make(split).unwrapped
            assert isinstance(env, TextEnv)
            self._catalogs[split] = env
        return self._catalogs[split]

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits that the data has."""
        return tuple(split for split in self.catalog().splits if self._has(split))

    @property
    def card(self) -> str | None:
        """The environment's card (README.md), where its package has one."""
        env = self.catalog()
        folder = Path(inspect.getfile(type(env))).parent
        card = folder / "README.md"
        return card.read_text() if card.is_file() else None

    def describe(self, split: str | None = None) -> dict[str, Any]:
        """Return what a client must know to stand in for the environment, as JSON."""
        env = self.catalog(split)
        wording = getattr(env, "wording", None)
        return {
            "name": self.name,
            "env_id": self._recipe.env_id,
            "benchmark": env.benchmark,
            "version": env.version,
            "fingerprint": env.fingerprint,
            "splits": list(env.splits),
            "split": env.split,
            "split_rule": env.split_rule,
            "num_tasks": env.num_tasks,
            "max_steps": env.max_steps,
            "rules": env.rules,
            "native_protocol": env.native_protocol,
            "tools": env.tools,
            "variant": env._variant,
            "wording": getattr(wording, "name", wording),
            "kwargs": {name: value for name, value in self._recipe.arguments.items() if _is_plain(value)},
        }

    def _has(self, split: str) -> bool:
        try:
            self.catalog(split)
        except EMPGGymError:
            return False
        return True

    def _recipe_of(self, split: str | None) -> EnvRecipe:
        return self._recipe if split is None else self._recipe.with_split(split)


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float | str)
