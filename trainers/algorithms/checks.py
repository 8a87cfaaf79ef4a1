"""Checks of the options and of the numbers that enter an advantage.

One value that is not finite would make every statistic of its batch not finite. It is therefore refused, with the name of its step, before
any statistic is taken. The one exception is the entropy of a step that generated nothing: NaN by definition.
"""

from __future__ import annotations

from typing import Any, get_args

import torch
from torch import Tensor

from empg_gym.errors import ConfigError, TrainingError, nearest


def require_finite_steps(what: str, values: Tensor, trajectory: Tensor, step: Tensor, *, allow_nan: bool = False) -> None:
    """Check one value per step.

    Args:
        what: the quantity, for the error.
        values: [S]
        trajectory: [S] index of the step's trajectory.
        step: [S] index of the step in its trajectory.
        allow_nan: whether NaN means "unknown" and is accepted.

    Raises:
        TrainingError: a value is infinite, or NaN where that is not accepted; the error names the trajectory and the step.
    """
    bad = torch.isinf(values) if allow_nan else ~torch.isfinite(values)
    if bad.any():
        index = int(bad.nonzero()[0])
        place = f"step {int(step[index])} of trajectory {int(trajectory[index])}"
        raise TrainingError(f"the {what} of {place} is {float(values[index])}; expected a finite number")


def check_choice(what: str, value: str, choices: Any) -> None:
    """Refuse a value that is not in `choices`, a `Literal`.

    Raises:
        ConfigError: naming the nearest one.
    """
    if value not in get_args(choices):
        raise ConfigError(f"unknown {what} {value!r}; {nearest(value, get_args(choices))}")


def check_discount(method: str, gamma: float) -> None:
    """Refuse a discount outside of [0, 1].

    Raises:
        ConfigError: naming the method and the value.
    """
    if not 0 <= gamma <= 1:
        raise ConfigError(f"gamma of {method} must be between 0 and 1, not {gamma}")
