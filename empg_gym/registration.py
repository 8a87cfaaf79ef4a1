"""The Gymnasium ids of the benchmarks, how users name them, and how the tools make environments.

An environment is named by its id ("EMPG/ALFWorld-v0"), by the short form of an id of this package ("alfworld"), or by "module:id", where
importing the module registers the id. Entry points are strings, so that registering imports nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import load_env_creator

from empg_gym.env import TextEnv
from empg_gym.errors import ConfigError, nearest
from empg_gym.gymnasium_env import SPLITS
from empg_gym.import_object import import_module

ENVIRONMENTS: dict[str, str] = {
    "EMPG/ALFWorld-v0": "empg_gym.envs.alfworld.env:ALFWorldEnv",
    "EMPG/WebShop-v0": "empg_gym.envs.webshop.env:WebShopEnv",
    "EMPG/DeepSearch-v0": "empg_gym.envs.deepsearch.env:DeepSearchEnv",
}
"""Id to entry point."""


HELD_OUT = ("test", "valid_unseen", "valid", "validation", "dev", "eval")
"""Splits to evaluate on where none is named, in this order."""


def register_environments() -> None:
    """Register every id that is not registered yet."""
    for env_id, entry_point in ENVIRONMENTS.items():
        if env_id not in gym.registry:
            gym.register(id=env_id, entry_point=entry_point)


def find_id(name: str) -> str:
    """Return the registered id that `name` stands for, importing the module of "module:id" first.

    Raises:
        ConfigError: nothing is registered under this name.
    """
    module, colon, name = name.rpartition(":")
    if colon:
        import_module(module, f"{module}:{name}")
    if name in gym.registry:
        return name
    own = [env_id for env_id in gym.registry if env_id.startswith("EMPG/")]
    short = {short_name(env_id): env_id for env_id in own}
    if short_name(name) in short:
        return short[short_name(name)]
    namespace = name.partition("/")[0]
    siblings = [env_id for env_id in gym.registry if "/" in name and env_id.startswith(f"{namespace}/")]
    raise ConfigError(f"no environment {name!r}; {nearest(name, siblings or [*own, *short])}")


def short_name(env_id: str) -> str:
    """Return the short form of an id: "alfworld" for "EMPG/ALFWorld-v0"."""
    return env_id.rpartition("/")[2].partition("-v")[0].lower().replace("-", "").replace("_", "")


def env_creator(env_id: str) -> Callable[..., Any] | None:
    """Return the class or function behind a registered id.

    Raises:
        ConfigError: nothing is registered under this id.
    """
    if env_id not in gym.registry:
        raise ConfigError(f"unknown environment {env_id!r}; {nearest(env_id, [name for name in gym.registry if '/' in name])}")
    entry_point = gym.spec(env_id).entry_point
    return load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point


def creator_parameters(env_id: str) -> Mapping[str, inspect.Parameter]:
    """Return the parameters that an environment is made with, by name."""
    creator = env_creator(env_id)
    return {} if creator is None else inspect.signature(creator).parameters


def splits_of(env_id: str) -> tuple[str, ...]:
    """Return the splits that the class behind an id lists; empty where a function makes the environment."""
    creator = env_creator(env_id)
    if creator is not None and _is_foreign(creator):
        return SPLITS
    return tuple(getattr(creator, "splits", ()))


def held_out_split(env_id: str) -> str | None:
    """Return the split to evaluate on where none is named; None where the class behind the id lists no held-out one."""
    return next((split for split in HELD_OUT if split in splits_of(env_id)), None)


def make(env_id: str, /, **arguments: Any) -> gym.Env[Any, Any]:
    """Return a new text environment, as `gym.make` does; errors are one sentence.

    A Gymnasium environment of another class is adapted (`TextEnv.from_gymnasium`) if it exchanges texts. The arguments `split` and
    `max_steps` are then the adapter's, unless its constructor has parameters of these names.

    Raises:
        ConfigError: the id is unknown or the environment does not exchange texts, or an argument is unknown or cannot be used.
    """
    creator = env_creator(env_id)
    adapted: dict[str, Any] = {}
    if creator is not None:
        parameters = inspect.signature(creator).parameters
        takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        if _is_foreign(creator):
            adapted = {name: arguments.pop(name) for name in ("split", "max_steps") if name in arguments and name not in parameters}
        for name in arguments:
            if name not in parameters and not takes_any:
                raise ConfigError(f"{env_id} takes no argument {name!r}; {nearest(name, parameters)}")
    try:
        env = gym.make(env_id, disable_env_checker=True, **arguments)
    except TypeError as error:
        # Gymnasium re-raises a constructor's TypeError with all arguments appended to the text.
        raise ConfigError(f"{env_id} can't be made with these arguments: {error.__cause__ or error}") from error
    if isinstance(env.unwrapped, TextEnv):
        return env
    try:
        return TextEnv.from_gymnasium(env, **adapted)
    except ConfigError:
        env.close()
        raise


def _is_foreign(creator: Callable[..., Any]) -> bool:
    """Whether environments of this creator need an adapter, as far as its class says."""
    return isinstance(creator, type) and not issubclass(creator, TextEnv | gym.Wrapper)
