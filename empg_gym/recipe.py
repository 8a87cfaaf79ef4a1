"""`EnvRecipe`: which environment to make, with which arguments and which dialogue, as one frozen, picklable value.

Training configurations, evaluations, checkpoints and worker processes all pass recipes instead of closures.

Rules:
    - Equal recipes make equal environments, in every process. Making one draws nothing and changes no global state.
    - An id may be "module:id": the module is imported before the id is looked up, in the process that makes the environment.
    - `embedded_kwargs` (the size of a generated world, say) have no effect where official data is given.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym

from empg_gym.agent_env import LLMAgentEnv
from empg_gym.chat_settings import ChatSettings
from empg_gym.data_name import data_name
from empg_gym.env import TextEnv
from empg_gym.import_object import import_module
from empg_gym.inherited import inherit
from empg_gym.registration import creator_parameters, make


@dataclass(frozen=True, slots=True)
class EnvRecipe:
    """One environment with its arguments and chat settings.

    Example:
        >>> recipe = EnvRecipe("EMPG/ALFWorld-v0", {"split": "valid_seen"}, chat=ChatSettings(dialogue="react"))
        >>> env = recipe.make()
    """

    env_id: str
    """Registered id. "module:id" is accepted and split into `module` and the id."""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of `gymnasium.make`."""
    _: dataclasses.KW_ONLY
    chat: ChatSettings = field(default_factory=ChatSettings)
    embedded_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments that only the embedded world has; ignored where `kwargs` has `data`."""
    module: str | None = None
    """Module to import first; it registers the id."""
    as_trained: Mapping[str, Any] = field(default_factory=dict)
    """Options decided by a training run (`with_training_defaults`), named as on the command line: {"env.size": "small", "history": 1}."""
    ignored: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the training run that its files must not decide (`empg_gym.inherited`) and that are not given, named likewise."""

    def __post_init__(self) -> None:
        module, colon, env_id = self.env_id.rpartition(":")
        if colon:
            object.__setattr__(self, "module", module)
            object.__setattr__(self, "env_id", env_id)

    @property
    def arguments(self) -> dict[str, Any]:
        """Keyword arguments that the environment is made with."""
        embedded = self.embedded_kwargs if self.kwargs.get("data") is None else {}
        return {**self.kwargs, **embedded}

    def make(self) -> LLMAgentEnv:
        """Return a new environment.

        Raises:
            ConfigError: the id is unknown or not a text environment, or an argument or chat setting cannot be used.
            MissingSplitError: the data lacks the split.
        """
        return self.wrap(self.make_env())

    def make_env(self) -> gym.Env[Any, Any]:
        """Return a new environment without the chat around it; raises what `make` raises."""
        if self.module is not None:
            import_module(self.module, f"{self.module}:{self.env_id}")
        return make(self.env_id, **self.arguments)

    def wrap(self, env: gym.Env[Any, Any]) -> LLMAgentEnv:
        """Return the chat around an environment of this recipe.

        Raises:
            ConfigError: the environment is not a text environment, or a chat setting cannot be used with it.
        """
        inner = env.unwrapped
        native = isinstance(inner, TextEnv) and inner.native_protocol
        return LLMAgentEnv(env, **self.chat.arguments(native_protocol=native))

    def with_split(self, split: str) -> EnvRecipe:
        """Return this recipe for another split."""
        return dataclasses.replace(self, kwargs={**self.kwargs, "split": split})

    def tasks(self) -> tuple[str, ...]:
        """Return the ids of the split's tasks, in order; raises what `make` raises."""
        with contextlib.closing(self.make()) as env:
            return tuple(map(env.text_env.task_id, range(env.text_env.num_tasks)))

    def num_tasks(self) -> int:
        """Return the number of tasks of the split; raises what `make` raises."""
        with contextlib.closing(self.make()) as env:
            return env.text_env.num_tasks

    def with_training_defaults(self, trained: EnvRecipe) -> EnvRecipe:
        """Return this recipe with everything that it leaves open as in the recipe of a training run; itself for another environment.

        The split never comes from training, and of the arguments only those do that `empg_gym.inherited` accepts. A system prompt explains
        one dialogue, and both suit one protocol: where this recipe names another dialogue, the run's prompt is not used; with another
        protocol, neither is its dialogue.
        """
        if trained.env_id != self.env_id:
            return self
        kwargs, ignored = inherit(self.env_id, {name: value for name, value in trained.kwargs.items() if name != "split"})
        embedded, embedded_ignored = inherit(self.env_id, trained.embedded_kwargs)
        merged = dataclasses.replace(
            self,
            kwargs={**kwargs, **self.kwargs},
            embedded_kwargs={name: value for name, value in embedded.items() if name not in self.kwargs},
            ignored={f"env.{name}": value for name, value in {**embedded_ignored, **ignored}.items() if name not in self.kwargs},
        )
        unsuited: tuple[str, ...] = ()
        if merged._protocol() != trained._protocol():
            unsuited = ("dialogue", "system_prompt")
        elif self.chat.dialogue is not None:
            unsuited = ("system_prompt",)
        chat = self.chat.missing_from(trained.chat, except_for=unsuited)
        arguments = {f"env.{name}": value for name, value in merged.arguments.items() if name not in self.kwargs}
        return dataclasses.replace(merged, chat=dataclasses.replace(self.chat, **chat), as_trained={**chat, **arguments})

    def describe(self, env: LLMAgentEnv | None = None) -> dict[str, Any]:
        """Return what results depend on in addition to the agent.

        Args:
            env: an environment of this recipe; None makes one, and raises what `make` raises.
        """
        if env is None:
            with contextlib.closing(self.make()) as made:
                return self.describe(made)
        inner = env.text_env
        wording = getattr(inner, "wording", None)
        return {
            "env_id": self.env_id,
            "env_version": inner.version,
            "data": data_name(self.kwargs.get("data")) if "data" in creator_parameters(self.env_id) else None,
            "data_fingerprint": inner.fingerprint,
            "split": inner.split,
            "split_tasks": inner.num_tasks,
            "split_rule": inner.split_rule,
            "wording": None if wording is None else getattr(wording, "name", wording),
            "max_steps": inner.max_steps,
            "kwargs": self.arguments,
            "dialogue": env.dialogue.name,
            "history": env.history,
            "show_admissible": env.show_admissible,
            "prompt_hash": hashlib.sha256(env.system_prompt.encode()).hexdigest()[:16],
            **({"as_trained": dict(self.as_trained)} if self.as_trained else {}),
        }

    def _protocol(self) -> object:
        """Return the native protocol that the environment reads; None where it has no choice of protocols."""
        parameter = creator_parameters(self.env_id).get("protocol")
        return None if parameter is None else self.arguments.get("protocol", parameter.default)
