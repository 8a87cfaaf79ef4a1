"""Agents from somebody's own Python module: `python:pkg.module:object`.

The object may be an agent (`act` or `session`), a class of agents (called with the options), or a function `f(messages)` or
`f(messages, tools)`, the second parameter named so, with or without `async`, that returns the response. The current folder is looked
in first, as `python -m` does.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, cast

from empg_gym.agents.base import Agent, Message, Reply, SessionAgent
from empg_gym.errors import ConfigError
from empg_gym.import_object import import_object


class FunctionAgent:
    """A function as an agent.

    Raises:
        ConfigError: it can be called neither as `f(messages)` nor as `f(messages, tools=…)`.
    """

    def __init__(self, function: Callable[..., Reply | Awaitable[Reply]]) -> None:
        self._function = function
        self._takes_tools = _can_be_called(function, None, tools=None)
        if not self._takes_tools and not _can_be_called(function, None):
            name = getattr(function, "__qualname__", repr(function))
            raise ConfigError(
                f"the function {name} can't be called as an agent: expected f(messages) or f(messages, tools); "
                "the second parameter must be named tools, others need a default"
            )

    def act(self, messages: Sequence[Message], *, tools: list[dict[str, Any]] | None = None) -> Reply | Awaitable[Reply]:
        return self._function(messages, tools=tools) if self._takes_tools else self._function(messages)


def _can_be_called(function: Callable[..., Any], *arguments: None, **named: None) -> bool:
    try:
        inspect.signature(function).bind(*arguments, **named)
    except (TypeError, ValueError):
        return False
    return True


def load_agent(target: str, options: Mapping[str, Any]) -> Agent | SessionAgent:
    """Return the agent that `target` ("pkg.module:object") names.

    Raises:
        ConfigError: no such module or object, options for something that takes none, or an object that is no agent.
    """
    found = import_object(target)
    if inspect.isclass(found):
        try:
            found = found(**options)
        except TypeError as error:
            raise ConfigError(f"can't make an agent of {target}: {error}") from None
    elif options:
        raise ConfigError(f"{target} is no class, so it takes no options; given: {', '.join(sorted(options))}")
    return as_agent(found, target)


def as_agent(found: object, name: str | None = None) -> Agent | SessionAgent:
    """Return an object as the agent that it is: itself, or a function wrapped.

    Raises:
        ConfigError: it is none; the text calls it `name`.
    """
    # The rollout asks for a session first.
    method = next((method for method in ("session", "act") if callable(getattr(found, method, None))), None)
    if method is not None and _is_bound(found, method):
        return cast(Agent | SessionAgent, found)
    if inspect.isclass(found):
        raise ConfigError(f"{name or found.__qualname__} is a class, not an agent: give an object of it, {found.__name__}(…)")
    if callable(found):
        return FunctionAgent(found)
    raise ConfigError(
        f"{name or repr(found)} is no agent: expected the name of one, an object with act(messages, *, tools=None) or session(env, seed), "
        "or a function f(messages)"
    )


def _is_bound(found: object, method: str) -> bool:
    """Whether a method can be called as it is: that of a class only where it needs no object of the class."""
    return not inspect.isclass(found) or isinstance(inspect.getattr_static(found, method), staticmethod | classmethod)
