"""Task panels: named, fingerprinted lists of tasks that give the same episodes on every machine, with any number of workers, in any order.

Rules:
    - A panel names the environment, the split, arguments that decide its tasks, how many of them, and the seed. `panels.toml` holds those
      of this release; "FILE.toml:NAME" names one of your own, in the same format.
    - The fingerprint is a hash of every task's id, environment seed and content (`TextEnv.task_key`). It depends neither on paths nor on
      the presentation: wording, observation mode, dialogue and step limit are conditions of a run, which results record.
    - A panel is run whole. Data with another fingerprint is refused; absent data is named.
    - A panel without a committed fingerprint (its data can't be redistributed) is checked by its number of tasks alone. The fingerprint
      that is computed from the data is recorded all the same, and `compare` pairs only equal ones.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pydantic

from empg_gym.agent_env import LLMAgentEnv
from empg_gym.chat_settings import ChatSettings
from empg_gym.data.registry import find_set
from empg_gym.data.store import DataStore
from empg_gym.errors import ConfigError, DataError, nearest
from empg_gym.recipe import EnvRecipe
from empg_gym.rollout.plan import draw_indices, episode_seed


class Panel(pydantic.BaseModel, frozen=True, extra="forbid"):
    """A named list of tasks."""

    name: str
    title: str
    """What the tasks are, in one sentence."""
    env: str
    """Registered id of the environment."""
    split: str
    args: dict[str, Any] = pydantic.Field(default_factory=dict)
    """Arguments of the environment that decide its tasks."""
    data: str | None = None
    """Name of the official data set; None means a generated world."""
    split_tasks: int | None = pydantic.Field(default=None, ge=1)
    """Number of tasks that the split must have; None checks the fingerprint alone."""
    tasks: int = pydantic.Field(ge=1)
    """Number of tasks: the whole split, or as many drawn from it with `seed`."""
    seed: int = pydantic.Field(default=0, ge=0)
    """Seed of the draw, of the environments and of the agent."""
    fingerprint: str | None = pydantic.Field(default=None, pattern="^[0-9a-f]{16}$")
    """Hash of the tasks, 16 hexadecimal digits; None if it can't be committed."""

    def recipe(self, args: Mapping[str, Any], chat: ChatSettings) -> EnvRecipe:
        """Return the recipe of the panel's environment.

        Args:
            args: arguments of the user, such as `data` or an observation mode.
            chat: chat settings of the user.

        Raises:
            ConfigError: an argument contradicts the panel.
            DataError: the panel's data is not installed and `args` names none.
        """
        fixed = {**self.args, "split": self.split}
        for name, value in args.items():
            if name in fixed and value != fixed[name]:
                raise ConfigError(f"the panel {self.name} fixes {name}={fixed[name]!r}, not {value!r}; leave out env.{name}, or the panel")
        data = {} if self.data is None or args.get("data") is not None else {"data": str(self._installed())}
        return EnvRecipe(self.env, {**args, **data, **fixed}, chat=chat)

    def choose(self, env: LLMAgentEnv) -> PanelTasks:
        """Return the tasks of the panel in an environment of its recipe.

        Raises:
            DataError: the environment's tasks are not those of the panel.
        """
        inner = env.text_env
        expected = self.split_tasks or self.tasks
        if inner.num_tasks < self.tasks or (self.split_tasks is not None and inner.num_tasks != expected):
            raise DataError(
                f"the panel {self.name} is drawn from {expected} tasks, but split {inner.split!r} of {inner.benchmark} has "
                f"{inner.num_tasks} here; {self._wanted()}"
            )
        ids = tuple(inner.task_id(index) for index in draw_indices(inner.num_tasks, self.tasks, self.seed))
        found = PanelTasks(name=self.name, tasks=ids, fingerprint=fingerprint(env, ids, self.seed))
        if self.fingerprint is not None and found.fingerprint != self.fingerprint:
            raise DataError(
                f"the tasks here are not those of the panel {self.name}: fingerprint {found.fingerprint}, expected {self.fingerprint}; "
                f"{self._wanted()}, and leave out arguments that change its tasks"
            )
        return found

    def _installed(self) -> Path:
        assert self.data is not None
        path = DataStore().path(find_set(self.data))
        if path is None:
            raise DataError(f"the panel {self.name} needs data that is not installed; {self._wanted()}")
        return path

    def _wanted(self) -> str:
        if self.data is None:
            return "use the generated world of this release (no data=)"
        return f"run `empg-gym data get {self.data}`, or name its folder with --set env.data=PATH (env.data in a training configuration)"


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelTasks:
    """The tasks of a panel in one environment."""

    name: str
    tasks: tuple[str, ...]
    """Ids, in the order of the split."""
    fingerprint: str

    def describe(self) -> dict[str, str]:
        """Return what results record."""
        return {"name": self.name, "fingerprint": self.fingerprint}


def fingerprint(env: LLMAgentEnv, tasks: Sequence[str], seed: int) -> str:
    """Return the fingerprint of tasks: 16 hexadecimal digits. The environment is reset on each of them."""
    digest = hashlib.sha256()
    for task in tasks:
        reset_seed = episode_seed(seed, task)
        env.text_env.reset(seed=reset_seed, options={"task": task})
        digest.update(f"{task}\x1f{reset_seed}\x1f{env.text_env.task_key()}\x1e".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:16]


def choose_panel_tasks(panel: Panel, recipe: EnvRecipe) -> PanelTasks:
    """Return the tasks of a panel in a new environment; raises what `EnvRecipe.make` and `Panel.choose` raise."""
    with contextlib.closing(recipe.make()) as env:
        return panel.choose(env)


def read_panels(text: str, where: str) -> dict[str, Panel]:
    """Parse panels in the format of `panels.toml`.

    Raises:
        ConfigError: the text is not in this format.
    """
    try:
        return {name: Panel(name=name, **entry) for name, entry in tomllib.loads(text).items()}
    except (tomllib.TOMLDecodeError, pydantic.ValidationError, TypeError) as error:
        raise ConfigError(f"{where} holds no valid panels: {error}") from None


@lru_cache(maxsize=1)
def panels() -> dict[str, Panel]:
    """Return the panels of this release, by name."""
    return read_panels(files("empg_gym.rollout").joinpath("panels.toml").read_text(encoding="utf-8"), "panels.toml")


def find_panel(name: str) -> Panel:
    """Return the panel with this name, or that of a file, "FILE.toml:NAME".

    Raises:
        ConfigError: the name is unknown, or the file can't be used.
    """
    file, colon, own = name.rpartition(":")
    if not colon:
        if name not in panels():
            raise ConfigError(f"unknown panel {name!r}; {nearest(name, panels())}")
        return panels()[name]
    try:
        known = read_panels(Path(file).read_text(encoding="utf-8"), file)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"can't read the panels in {file!r}: {error}") from None
    if own not in known:
        raise ConfigError(f"{file} has no panel {own!r}; {nearest(own, known)}")
    return known[own]


def with_panel(recipe: EnvRecipe, panel: Panel) -> EnvRecipe:
    """Return a training run's recipe for the tasks of a panel.

    Raises:
        ConfigError: the panel is of another environment, or an argument contradicts it.
        DataError: the panel's data is not installed and the recipe names none.
    """
    if recipe.env_id != panel.env:
        raise ConfigError(f"the panel {panel.name} is of {panel.env}, not of {recipe.env_id}")
    arguments = {name: value for name, value in recipe.arguments.items() if name != "split"}
    return dataclasses.replace(panel.recipe(arguments, recipe.chat), module=recipe.module)
