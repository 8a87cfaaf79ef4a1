"""The algorithms, by name: one file per method, each a pure function that reads like its paper.

A configuration names an advantage and a policy loss: a registered one, or the user's own as `module:function`. To add a method to
this package, add a file with a decorated function and import it below. Options are the function's keyword-only parameters.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast

from torch import Tensor

from empg_gym.trainers.algorithms.base import Advantages, PolicyLoss, PolicyTokens, RolloutSteps
from empg_gym.trainers.registry import Registry, number, option_names

AdvantageFunction = Callable[..., Advantages]
"""`(RolloutSteps, *, options) -> Advantages`"""
PolicyLossFunction = Callable[..., PolicyLoss]
"""`(PolicyTokens, *, options) -> PolicyLoss`"""


def _advantages(result: object, steps: RolloutSteps) -> str | None:
    if not isinstance(result, Advantages):
        return f"Advantages, not {type(result).__name__}"
    for name, value in (("values", result.values), ("base", result.base)):
        if not isinstance(value, Tensor) or value.shape != steps.step.shape or not value.is_floating_point():
            found = f"one of {value.dtype} and shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            expected = f"one value per step, a floating-point tensor of shape {tuple(steps.step.shape)}"
            return f"Advantages whose {name} have {expected}, not {found}"
    wrong = [name for name, value in result.metrics.items() if number(value)]
    return f"Advantages whose metrics are numbers, not {type(result.metrics[wrong[0]]).__name__} ({wrong[0]!r})" if wrong else None


def _policy_loss(result: object, tokens: PolicyTokens) -> str | None:
    if not isinstance(result, PolicyLoss):
        return f"a PolicyLoss, not {type(result).__name__}"
    if not isinstance(result.loss, Tensor) or result.loss.ndim:
        found = f"a tensor of shape {tuple(result.loss.shape)}" if isinstance(result.loss, Tensor) else type(result.loss).__name__
        return f"a PolicyLoss whose loss is a scalar tensor, not {found}"
    return None


Function = TypeVar("Function", bound=Callable[..., Any])
ADVANTAGES: Registry[AdvantageFunction] = Registry("advantage", _advantages)
POLICY_LOSSES: Registry[PolicyLossFunction] = Registry("policy loss", _policy_loss)


def register_advantage(name: str, *, needs: Iterable[str] = ()) -> Callable[[AdvantageFunction], AdvantageFunction]:
    """Return a decorator that registers an advantage function as `name`.

    Args:
        name: for configurations.
        needs: fields of `RolloutSteps` that cost extra to compute and are therefore absent unless an advantage asks for them:
            "gold_logprobs". They are kept as the function's attribute `needs`, which a function named as `module:function` can set itself.

    Raises:
        ConfigError: the name is taken by another function.
    """
    return _register(ADVANTAGES, name, needs)


def register_policy_loss(name: str, *, needs: Iterable[str] = ()) -> Callable[[PolicyLossFunction], PolicyLossFunction]:
    """Return a decorator that registers a policy loss as `name`.

    Args:
        name: for configurations.
        needs: fields of `PolicyTokens` that cost extra to compute and are therefore None unless a loss asks for them: "entropies". They are
            kept as the function's attribute `needs`, which a function named as `module:function` can set itself.

    Raises:
        ConfigError: the name is taken by another function.
    """
    return _register(POLICY_LOSSES, name, needs)


def _register(registry: Registry[Function], name: str, needs: Iterable[str]) -> Callable[[Function], Function]:
    def add(function: Function) -> Function:
        if needs:
            cast(Any, function).needs = frozenset(needs)
        return registry.register(name)(function)

    return add


def needs_of(function: Callable[..., Any]) -> frozenset[str]:
    """Return the costly fields of its argument that an advantage function or a policy loss declares."""
    return frozenset(getattr(function, "needs", ()))


def advantage_needs(name: str, options: Mapping[str, Any] | None = None) -> frozenset[str]:
    """Return the costly fields of `RolloutSteps` that an advantage needs, with those of its base (`base`, `base_options`) if it has one.

    Raises:
        ConfigError: there is no such function.
    """
    function, given = ADVANTAGES.find(name), options or {}
    needs = needs_of(function)
    base = inspect.signature(function).parameters.get("base")
    return needs if base is None else needs | advantage_needs(given.get("base", base.default), given.get("base_options"))


def get_advantage(name: str, options: Mapping[str, Any] | None = None) -> Callable[[RolloutSteps], Advantages]:
    """Return the advantage function of that name, or that `module:function`, with its options filled in.

    Raises:
        ConfigError: there is no such function, or it does not take one of the options.
    """
    return ADVANTAGES.bind(name, options or {})


def get_policy_loss(name: str, options: Mapping[str, Any] | None = None) -> Callable[[PolicyTokens], PolicyLoss]:
    """Return the policy loss of that name, or that `module:function`, with its options filled in.

    Raises:
        ConfigError: there is no such function, or it does not take one of the options.
    """
    return POLICY_LOSSES.bind(name, options or {})


from empg_gym.trainers.algorithms import (  # noqa: E402 (they register themselves here)
    aepo,
    aepo_loss,
    dr_grpo,
    empg,
    g2po,
    gigpo,
    graph_gpo,
    grpo,
    gspo,
    hgpo,
    igpo,
    ppo_clip,
    reinforce_pp,
    rloo,
)

__all__ = [
    "ADVANTAGES",
    "POLICY_LOSSES",
    "AdvantageFunction",
    "Advantages",
    "PolicyLoss",
    "PolicyLossFunction",
    "PolicyTokens",
    "RolloutSteps",
    "advantage_needs",
    "aepo",
    "aepo_loss",
    "dr_grpo",
    "empg",
    "g2po",
    "get_advantage",
    "get_policy_loss",
    "gigpo",
    "graph_gpo",
    "grpo",
    "gspo",
    "hgpo",
    "igpo",
    "needs_of",
    "option_names",
    "ppo_clip",
    "register_advantage",
    "register_policy_loss",
    "reinforce_pp",
    "rloo",
]
