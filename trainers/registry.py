"""Registries: what a configuration names, a registered name or a user's own `module:object`.

Rules:
    - The options of an entry are the keyword-only parameters of its function; a configuration sets them by name.
    - An unknown name or option is a `ConfigError` that names the nearest one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from empg_gym.errors import ConfigError, nearest
from empg_gym.import_object import import_object

Function = TypeVar("Function", bound=Callable[..., Any])


class Registry(Generic[Function]):
    """Functions of one kind, by name.

    Args:
        kind: what the entries are, for errors: "advantage", "rollout plan".

    Example:
        >>> PLANS = Registry[Callable[..., Any]]("rollout plan")
        >>> @PLANS.register("groups")
        ... async def groups(request): ...
        >>> plan = PLANS.bind("groups", {})
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._functions: dict[str, Function] = {}

    def __iter__(self) -> Iterator[str]:
        """Iterate over the registered names."""
        return iter(sorted(self._functions))

    def __contains__(self, name: object) -> bool:
        return name in self._functions

    def register(self, name: str) -> Callable[[Function], Function]:
        """Return a decorator that registers a function as `name`.

        Raises:
            ConfigError: the name is taken by another function.
        """

        def add(function: Function) -> Function:
            taken = self._functions.setdefault(name, function)
            if taken is not function:
                raise ConfigError(f"the {self.kind} {name!r} is already registered: {taken.__module__}.{taken.__qualname__}")
            return function

        return add

    def find(self, name: str) -> Function:
        """Return the function registered as `name`, or the one that `name` ("module:function") imports.

        Raises:
            ConfigError: there is no such function.
        """
        if ":" in name:
            found: Any = import_object(name)
            if not callable(found):
                raise ConfigError(f"the {self.kind} {name!r} must be callable, not of type {type(found).__name__}")
            return found
        if name not in self._functions:
            raise ConfigError(f"unknown {self.kind} {name!r}; {nearest(name, self)}; name your own as module:function")
        return self._functions[name]

    def bind(self, name: str, options: Mapping[str, Any]) -> Callable[..., Any]:
        """Return the function with its options filled in.

        Raises:
            ConfigError: there is no such function, or it does not take one of the options.
        """
        function = self.find(name)
        known = option_names(function)
        for option in options:
            if option not in known:
                takes = nearest(option, known) if known else "it takes none"
                raise ConfigError(f"the {self.kind} {name!r} has no option {option!r}; {takes}")
        return lambda *given: function(*given, **options)


def option_names(function: Callable[..., Any]) -> list[str]:
    """Return the names of a function's keyword-only parameters."""
    parameters: Iterable[inspect.Parameter] = inspect.signature(function).parameters.values()
    return [item.name for item in parameters if item.kind is inspect.Parameter.KEYWORD_ONLY]
