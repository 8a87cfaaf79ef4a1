"""The Gymnasium ids of the benchmarks, and how the tools make environments.

Entry points are strings, so that registering imports nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import load_env_creator

from empg_gym.env import TextEnv
from empg_gym.errors import ConfigError, nearest

ENVIRONMENTS: dict[str, str] = {
    "EMPG/ALFWorld-v0": "empg_gym.envs.alfworld.env:ALFWorldEnv",
    "EMPG/WebShop-v0": "empg_gym.envs.webshop.env:WebShopEnv",
    "EMPG/DeepSearch-v0": "empg_gym.envs.deepsearch.env:DeepSearchEnv",
}
"""Id to entry point."""


def register_environments() -> None:
    """Register every id that is not registered yet."""
    for env_id, entry_point in ENVIRONMENTS.items():
        if env_id not in gym.registry:
            gym.register(id=env_id, entry_point=entry_point)


def env_creator(env_id: str) -> Callable[..., Any] | None:
    """Return the class or function behind a registered id."""
    entry_point = gym.spec(env_id).entry_point
    return load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point


def make(env_id: str, /, **arguments: Any) -> gym.Env[Any, Any]:
    """Return a new text environment: `gym.make`, with what it refuses said in one sentence.

    Raises:
        ConfigError: it is no text environment, takes no such argument, or can't use the value of one.
    """
    creator = env_creator(env_id)
    if isinstance(creator, type) and not issubclass(creator, TextEnv | gym.Wrapper):
        raise _no_text_env(env_id, creator)
    if creator is not None:
        parameters = inspect.signature(creator).parameters
        takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        for name in arguments:
            if name not in parameters and not takes_any:
                raise ConfigError(f"{env_id} takes no argument {name!r}; {nearest(name, parameters)}")
    try:
        env = gym.make(env_id, disable_env_checker=True, **arguments)
    except TypeError as error:
        # Gymnasium raises a constructor's TypeError again with all its arguments behind the text.
        raise ConfigError(f"{env_id} can't be made with these arguments: {error.__cause__ or error}") from error
    if not isinstance(env.unwrapped, TextEnv):
        env.close()
        raise _no_text_env(env_id, type(env.unwrapped))
    return env


def _no_text_env(env_id: str, kind: type) -> ConfigError:
    return ConfigError(f"{env_id} is a {kind.__name__}, but only EMPG text environments can be used")
