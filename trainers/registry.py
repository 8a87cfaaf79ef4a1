"""Registries: what a configuration names, a registered name or a user's own `module:object`.

Rules:
    - The options of an entry are the keyword-only parameters of its function; a configuration sets them by name.
    - An unknown name or option is a `ConfigError` that names the nearest one.
    - A user's own function that fails, or returns something else than its kind must, is a `ConfigError` that names it and its line. An
      exception of a registered function passes unchanged.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from empg_gym.errors import ConfigError, EMPGGymError, nearest
from empg_gym.import_object import import_object

Function = TypeVar("Function", bound=Callable[..., Any])
Check = Callable[..., str | None]
"""`(result, *arguments) -> mistake`: what a function must return and what it returned, "a number, not NoneType"; None if it is right."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A function that a configuration names, with its options filled in."""

    kind: str
    """Of the registry: "advantage", "rollout plan"."""
    name: str
    """As in the configuration."""
    function: Callable[..., Any]
    options: Mapping[str, Any]
    """Those that the configuration sets."""
    check: Check | None = None
    """Of the registry."""
    asynchronous: bool = False
    """Of the registry."""

    def __call__(self, *given: Any) -> Any:
        """Call the function and check its result; where the registry is asynchronous, return a coroutine that does.

        Raises:
            ConfigError: the function is the user's own and fails, or the result is not what its kind must return.
        """
        try:
            result = self.function(*given, **self.options)
        except Exception as error:
            raise self._failure(error) from error
        if not self.asynchronous:
            return self._checked(result, given)
        if not inspect.isawaitable(result):
            raise ConfigError(f"the {self.kind} {self.name!r} must be an async function")
        return self._finish(result, given)

    async def _finish(self, result: Awaitable[Any], given: tuple[Any, ...]) -> Any:
        try:
            awaited = await result
        except Exception as error:
            raise self._failure(error) from error
        return self._checked(awaited, given)

    def _checked(self, result: Any, given: tuple[Any, ...]) -> Any:
        mistake = self.check and self.check(result, *given)
        if mistake:
            raise ConfigError(f"the {self.kind} {self.name!r} must return {mistake}")
        return result

    def _failure(self, error: Exception) -> Exception:
        """Return the error to raise for an exception of the function."""
        if isinstance(error, EMPGGymError) or ":" not in self.name:
            return error
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
        own = [frame for frame in frames if frame.filename == inspect.getsourcefile(self.function)]
        where = "".join(f" ({Path(frame.filename).name}, line {frame.lineno})" for frame in (own or frames)[-1:])
        return ConfigError(f"the {self.kind} {self.name!r} failed: {type(error).__name__}: {error}{where}")

    def effective_options(self) -> dict[str, Any]:
        """Return all options with their values, defaults included; a required option that is not set is left out."""
        parameters = inspect.signature(self.function).parameters
        defaults = {name: parameters[name].default for name in option_names(self.function)}
        return {name: value for name, value in (defaults | dict(self.options)).items() if value is not inspect.Parameter.empty}


class Registry(Generic[Function]):
    """Functions of one kind, by name.

    Args:
        kind: what the entries are, for errors: "advantage", "rollout plan".
        check: finds what is wrong with a result of an entry; None accepts every result.
        asynchronous: whether entries are async functions.

    Example:
        >>> PLANS = Registry[Callable[..., Any]]("rollout plan")
        >>> @PLANS.register("groups")
        ... async def groups(request): ...
        >>> plan = PLANS.bind("groups", {})
    """

    def __init__(self, kind: str, check: Check | None = None, *, asynchronous: bool = False) -> None:
        self.kind, self.check, self.asynchronous = kind, check, asynchronous
        self._functions: dict[str, Function] = {}
        self._entry_points: dict[str, str] = {}

    def __iter__(self) -> Iterator[str]:
        """Iterate over the registered names."""
        return iter(sorted([*self._functions, *self._entry_points]))

    def __contains__(self, name: object) -> bool:
        return name in self._functions or name in self._entry_points

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

    def register_entry_point(self, name: str, entry_point: str) -> None:
        """Register what "module:object" imports as `name`; it is imported when it is used."""
        self._entry_points[name] = entry_point

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
        if name in self._entry_points:
            entry: Function = import_object(self._entry_points[name])
            return entry
        if name not in self._functions:
            raise ConfigError(f"unknown {self.kind} {name!r}; {nearest(name, self)}; name your own as module:function")
        return self._functions[name]

    def bind(self, name: str, options: Mapping[str, Any]) -> Bound:
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
        return Bound(self.kind, name, function, options, self.check, self.asynchronous)


def option_names(function: Callable[..., Any]) -> list[str]:
    """Return the names of a function's keyword-only parameters."""
    parameters: Iterable[inspect.Parameter] = inspect.signature(function).parameters.values()
    return [item.name for item in parameters if item.kind is inspect.Parameter.KEYWORD_ONLY]


def number(result: object, *given: object) -> str | None:
    """Check that a result is a number."""
    return None if hasattr(result, "__float__") else f"a number, not {type(result).__name__}"
