"""Agents from somebody's own Python module: `python:pkg.module:object`.

The object may be an agent (`act` or `session`), a class of agents (called with the options), or a function `f(messages, tools)`, with or
without `async`, that returns the response. The current folder is looked in first, as `python -m` does.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from empg_gym.agents.base import Agent, Message, Reply, SessionAgent
from empg_gym.errors import ConfigError, nearest


class FunctionAgent:
    """A function as an agent."""

    def __init__(self, function: Callable[..., Reply | Awaitable[Reply]]) -> None:
        self._function = function
        parameters = inspect.signature(function).parameters.values()
        self._takes_tools = len(parameters) > 1 or any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)

    def act(self, messages: Sequence[Message], *, tools: list[dict[str, Any]] | None = None) -> Reply | Awaitable[Reply]:
        return self._function(messages, tools=tools) if self._takes_tools else self._function(messages)


def load_agent(target: str, options: Mapping[str, Any]) -> Agent | SessionAgent:
    """Return the agent that `target` ("pkg.module:object") names.

    Raises:
        ConfigError: no such module or object, options for something that takes none, or an object that is no agent.
    """
    module_name, _, path = target.partition(":")
    if not module_name or not path:
        raise ConfigError(f"python: takes module:object, such as python:my_agents:Player, not {target!r}")
    found = _find(module_name, path)
    if inspect.isclass(found):
        try:
            found = found(**options)
        except TypeError as error:
            raise ConfigError(f"can't make an agent of {target}: {error}") from None
    elif options:
        raise ConfigError(f"{target} is no class, so it takes no options; given: {', '.join(sorted(options))}")
    if callable(getattr(found, "act", None)) or callable(getattr(found, "session", None)):
        return cast(Agent | SessionAgent, found)
    if callable(found):
        return FunctionAgent(found)
    raise ConfigError(f"{target} is no agent: it needs act(messages, *, tools=None), session(env, seed), or to be a function")


def _find(module_name: str, path: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise
        raise ConfigError(f"no module {error.name!r} here or in the Python path (asked for by python:{module_name}:{path})") from None
    for part in path.split("."):
        if not hasattr(found, part):
            names = [name for name in vars(found) if not name.startswith("_")] if hasattr(found, "__dict__") else []
            raise ConfigError(f"{module_name} has no {part!r}; {nearest(part, names)}")
        found = getattr(found, part)
    return found
