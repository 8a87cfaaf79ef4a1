"""The algorithms, by name: one file a method, each a pure function that reads like its paper.

A configuration names an advantage and a policy loss: a registered one, or a function of a user's own as `module:function`. A new method of
this package is a new file with a decorated function and an import below.
Options are the function's keyword-only arguments: what a configuration may set is what the function takes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from empg_gym.errors import ConfigError, nearest
from empg_gym.import_object import import_object
from empg_gym.trainers.algorithms.base import Advantages, PolicyLoss, PolicyTokens, RolloutSteps

AdvantageFunction = Callable[..., Advantages]
"""`(RolloutSteps, *, options) -> Advantages`"""
PolicyLossFunction = Callable[..., PolicyLoss]
"""`(PolicyTokens, *, options) -> PolicyLoss`"""

ADVANTAGES: dict[str, AdvantageFunction] = {}
POLICY_LOSSES: dict[str, PolicyLossFunction] = {}

Function = TypeVar("Function", bound=Callable[..., Any])


def register_advantage(name: str) -> Callable[[Function], Function]:
    """Make a function known as the advantage `name`."""
    return _register(ADVANTAGES, name)


def register_policy_loss(name: str) -> Callable[[Function], Function]:
    """Make a function known as the policy loss `name`."""
    return _register(POLICY_LOSSES, name)


def get_advantage(name: str, options: Mapping[str, Any] | None = None) -> Callable[[RolloutSteps], Advantages]:
    """Return the advantage function of that name, or that `module:function`, with its options filled in.

    Raises:
        ConfigError: no such function, or an option that it does not take.
    """
    return _bound(ADVANTAGES, "advantage", name, options or {})


def get_policy_loss(name: str, options: Mapping[str, Any] | None = None) -> Callable[[PolicyTokens], PolicyLoss]:
    """Return the policy loss of that name, or that `module:function`, with its options filled in.

    Raises:
        ConfigError: no such function, or an option that it does not take.
    """
    return _bound(POLICY_LOSSES, "policy loss", name, options or {})


def option_names(function: Callable[..., Any]) -> list[str]:
    """Return the names of a function's keyword-only arguments."""
    parameters: Iterable[inspect.Parameter] = inspect.signature(function).parameters.values()
    return [item.name for item in parameters if item.kind is inspect.Parameter.KEYWORD_ONLY]


def _register(registry: dict[str, Callable[..., Any]], name: str) -> Callable[[Function], Function]:
    def add(function: Function) -> Function:
        if registry.setdefault(name, function) is not function:
            raise ConfigError(f"the name {name!r} is taken by {registry[name].__module__}.{registry[name].__qualname__}")
        return function

    return add


def _bound(registry: dict[str, Callable[..., Any]], kind: str, name: str, options: Mapping[str, Any]) -> Callable[[Any], Any]:
    if ":" in name:
        function = import_object(name)
        if not callable(function):
            raise ConfigError(f"the {kind} {name!r} is no function but {type(function).__name__}")
    elif name in registry:
        function = registry[name]
    else:
        raise ConfigError(f"unknown {kind} {name!r}; {nearest(name, registry)}; one of your own is named as module:function")
    known = option_names(function)
    for option in options:
        if option not in known:
            raise ConfigError(f"the {kind} {name!r} has no option {option!r}; {nearest(option, known)}")
    return lambda given: function(given, **options)


from empg_gym.trainers.algorithms import empg, grpo, ppo_clip  # noqa: E402 (they register themselves here)

__all__ = [
    "ADVANTAGES",
    "POLICY_LOSSES",
    "AdvantageFunction",
    "Advantages",
    "PolicyLoss",
    "PolicyLossFunction",
    "PolicyTokens",
    "RolloutSteps",
    "empg",
    "get_advantage",
    "get_policy_loss",
    "grpo",
    "option_names",
    "ppo_clip",
    "register_advantage",
    "register_policy_loss",
]
