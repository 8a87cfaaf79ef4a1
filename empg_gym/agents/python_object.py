"""Agents from somebody's own Python module: `python:pkg.module:object`.

The object may be an agent (`act` or `session`), a class of agents (called with the options), or a function `f(messages, tools)`, with or
without `async`, that returns the response. The current folder is looked in first, as `python -m` does.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, cast

from empg_gym.agents.base import Agent, Message, Reply, SessionAgent
from empg_gym.errors import ConfigError
from empg_gym.userobject import find_object


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
    found = find_object(target)
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
