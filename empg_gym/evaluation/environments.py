"""The environments of an evaluation: from what a user names to something that can be made many times.

An environment is named by its id ("EMPG/ALFWorld-v0"), by the short form of it ("alfworld"), or by "module:id" of somebody else's; a split
may follow behind "@" ("alfworld@valid_seen").
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gymnasium as gym

from empg_gym.agent_env import LLMAgentEnv
from empg_gym.agents.training_run import TrainingRun
from empg_gym.dialogue import Dialogue
from empg_gym.env import TextEnv
from empg_gym.errors import ConfigError, nearest
from empg_gym.registration import env_creator, make

HELD_OUT = ("test", "valid_unseen", "valid", "validation", "dev", "eval")
"""Splits to evaluate on where none is named, in this order."""
EMBEDDED = "embedded world"


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """How the environment talks with the agent; the arguments of `LLMAgentEnv`. None is what nobody has said."""

    dialogue: str | Dialogue | None = None
    preferred: Dialogue | None = None
    """The agent's own format: takes the place of `None` where the environment has no protocol of its own."""
    history: int | None = None
    show_admissible: bool | None = None
    system_prompt: str | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """One environment with its arguments."""

    env_id: str
    kwargs: Mapping[str, Any]
    conversation: Conversation
    as_trained: Mapping[str, Any] = field(default_factory=dict)
    """Options that the agent's training run decided, as nobody else did: names as on the command line."""

    def is_named(self, name: str) -> bool:
        """Whether `name` is the environment's id or a short form of it."""
        return name == self.env_id or _short(name) == _short(self.env_id)

    def make(self) -> LLMAgentEnv:
        """Return a new environment.

        Raises:
            ConfigError: it is no text environment, or refuses its arguments.
        """
        inner = make(self.env_id, **self.kwargs)
        assert isinstance(inner.unwrapped, TextEnv)
        talk = self.conversation
        return LLMAgentEnv(
            inner,
            dialogue=talk.dialogue or (None if inner.unwrapped.native_protocol else talk.preferred),
            history=talk.history,
            show_admissible=bool(talk.show_admissible),
            system_prompt=talk.system_prompt,
        )

    def played_as(self, run: TrainingRun) -> Source:
        """Return the source as a training run played it, in all that nobody else has decided; itself where that run had another one.

        A system prompt explains one dialogue, and both suit one protocol: with another dialogue the run's prompt is not taken, with another
        protocol neither is its dialogue.
        """
        if run.env_id != self.env_id:
            return self
        kwargs = run.env_kwargs(self.kwargs)
        unsuited: tuple[str, ...] = ()
        if _protocol(self.env_id, kwargs) != _protocol(self.env_id, run.env_kwargs({})):
            unsuited = ("dialogue", "system_prompt")
        elif self.conversation.dialogue is not None:
            unsuited = ("system_prompt",)
        talk = {
            name: value
            for name, value in run.conversation.items()
            if name not in unsuited and value is not None and value is not False and getattr(self.conversation, name) is None
        }
        taken = {f"env.{name}": value for name, value in kwargs.items() if name not in self.kwargs}
        return replace(self, kwargs=kwargs, conversation=replace(self.conversation, **talk), as_trained={**talk, **taken})

    def describe(self, env: LLMAgentEnv) -> dict[str, Any]:
        """Return what the results of this environment depend on, besides the agent."""
        inner = env.text_env
        wording = getattr(inner, "wording", None)
        return {
            "env_id": self.env_id,
            "env_version": inner.version,
            "data": data_name(self.kwargs.get("data")) if _takes_data(self.env_id) else None,
            "data_fingerprint": inner.fingerprint,
            "split": inner.split,
            "split_tasks": inner.num_tasks,
            "split_rule": inner.split_rule,
            "wording": None if wording is None else getattr(wording, "name", wording),
            "max_steps": inner.max_steps,
            "kwargs": dict(self.kwargs),
            "dialogue": env.dialogue.name,
            "history": env.history,
            "show_admissible": env.show_admissible,
            "prompt_hash": hashlib.sha256(env.system_prompt.encode()).hexdigest()[:16],
            **({"as_trained": dict(self.as_trained)} if self.as_trained else {}),
        }


def find_source(name: str, *, split: str | None, kwargs: Mapping[str, Any], conversation: Conversation) -> Source:
    """Return the source for what a user named, with the split to use among its arguments.

    Raises:
        ConfigError: no such environment, a split named twice, or one that it does not have.
    """
    base, _, wanted = name.partition("@")
    split = wanted or split
    env_id = find_id(base)
    if split is not None:
        return Source(env_id, {"split": split, **kwargs}, conversation)
    if "split" in kwargs:
        return Source(env_id, dict(kwargs), conversation)
    held_out = next((split for split in HELD_OUT if split in _splits(env_id)), None)
    return Source(env_id, dict(kwargs) if held_out is None else {"split": held_out, **kwargs}, conversation)


def data_name(data: object) -> str:
    """Return what results call the argument `data` of an environment: an embedded world is no benchmark, and must not be taken for one."""
    return EMBEDDED if data is None else Path(str(data)).name or str(data)


def with_data(name: str, data: object) -> str:
    """Return an environment's name with what it was played on, where that is known: "ALFWorld (embedded world)"."""
    return f"{name} ({data})" if data else name


def find_id(name: str) -> str:
    """Return the registered id that `name` stands for.

    Raises:
        ConfigError: nothing is registered under it.
    """
    if ":" in name:
        module, _, name = name.partition(":")
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise ConfigError(f"no module {error.name!r} in the Python path, asked for by {module}:{name}") from None
    if name in gym.registry:
        return name
    ours = [env_id for env_id in gym.registry if env_id.startswith("EMPG/")]
    short = {_short(env_id): env_id for env_id in ours}
    if _short(name) in short:
        return short[_short(name)]
    raise ConfigError(f"no environment {name!r}; {nearest(name, [*ours, *short])}")


def _short(env_id: str) -> str:
    return env_id.rpartition("/")[2].partition("-v")[0].lower().replace("-", "").replace("_", "")


def _takes_data(env_id: str) -> bool:
    return "data" in _parameters(env_id)


def _protocol(env_id: str, kwargs: Mapping[str, Any]) -> object:
    """Return the protocol that an environment with these arguments reads; None where it has no choice of them."""
    parameter = _parameters(env_id).get("protocol")
    return None if parameter is None else kwargs.get("protocol", parameter.default)


def _parameters(env_id: str) -> Mapping[str, inspect.Parameter]:
    creator = env_creator(env_id)
    return {} if creator is None else inspect.signature(creator).parameters


def _splits(env_id: str) -> Sequence[str]:
    return tuple(getattr(env_creator(env_id), "splits", ()))
