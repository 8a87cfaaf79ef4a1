"""Environments by name, here or behind an address: wherever an adapter takes the id of an environment, it takes the URL of a server too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from empg_gym.agent_env import LLMAgentEnv
from empg_gym.chat_settings import ChatSettings
from empg_gym.errors import ConfigError
from empg_gym.recipe import EnvRecipe
from empg_gym.registration import find_id


def is_served(env_id: str) -> bool:
    """Return whether an id is the URL of `empg-gym serve env`."""
    return "://" in env_id


def resolve_id(env_id: str) -> str:
    """Return the registered id that a name stands for; a URL as it is.

    Raises:
        ConfigError: nothing is registered under this name.
    """
    return env_id if is_served(env_id) else find_id(env_id)


def open_env(env_id: str, split: str, kwargs: Mapping[str, Any], chat: ChatSettings) -> LLMAgentEnv:
    """Return a new environment with its chat.

    Args:
        env_id: registered id, its short form, or the URL of a served environment.
        split: name of the split.
        kwargs: keyword arguments of `gymnasium.make`; none for a served environment, whose server has them.
        chat: chat settings.

    Raises:
        ConfigError: the id, the split or an argument is unknown, or the chat does not suit the environment.
        EnvironmentFailure: no server answers at the URL, it refuses, or it is full.
    """
    if not is_served(env_id):
        return EnvRecipe(find_id(env_id), {**kwargs, "split": split}, chat=chat).make()
    from empg_gym.serve.remote_env import connect

    if kwargs:
        raise ConfigError(f"the server at {env_id} makes its environment; give it the options {', '.join(kwargs)} when it is started")
    return EnvRecipe("", chat=chat).wrap(connect(env_id, split=split))
