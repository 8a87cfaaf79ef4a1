"""Each (trajectory, step) of a batch once.

Rules:
    - A method decorated with `on_distinct_steps` sees each (trajectory, step) once, sorted, checked and in float64, without gradient.
      Rows that were copied as padding therefore enter no statistic and get the value of their step, and the order of rows cannot change
      a bit of the result.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, Concatenate, ParamSpec

import torch
from torch import Tensor

from empg_gym.errors import TrainingError
from empg_gym.trainers.algorithms.base import Advantages, RolloutSteps
from empg_gym.trainers.algorithms.checks import require_finite_steps
from empg_gym.trainers.algorithms.penalties import step_penalties
from empg_gym.trainers.algorithms.unique import unique_steps

PER_TRAJECTORY = ("rewards", "groups", "success", "truncated", "tree", "parent", "branch_step")

P = ParamSpec("P")


def on_distinct_steps(
    method: Callable[Concatenate[RolloutSteps, P], Advantages],
) -> Callable[Concatenate[RolloutSteps, P], Advantages]:
    """Let an advantage function see each step once, in order of (trajectory, step), and spread its values over the rows of the batch.

    Raises:
        TrainingError: a reward or penalty is not finite, or a penalty is negative; the error names the trajectory and the step.
    """

    @functools.wraps(method)
    def wrapped(batch: RolloutSteps, /, *args: P.args, **options: P.kwargs) -> Advantages:
        if len(batch.step) == 0:
            empty = torch.zeros(0, dtype=torch.float64)
            return Advantages(values=empty, base=empty)
        with torch.no_grad():
            steps, row_of = distinct_steps(batch)
            check_finite(steps)
            result = method(steps, *args, **options)
        return replace(result, values=result.values[row_of], base=result.base[row_of])

    return wrapped


def distinct_steps(batch: RolloutSteps) -> tuple[RolloutSteps, Tensor]:
    """Return the batch with each (trajectory, step) once, sorted, and the index [S] of each given row into it.

    Floating-point fields become float64. Of copied rows the first is kept.
    """
    unique = unique_steps(batch.trajectory, batch.step)
    changed: dict[str, Any] = {}
    for field in fields(batch):
        value = getattr(batch, field.name)
        if isinstance(value, tuple):
            value = tuple(value[index] for index in unique.first.tolist())
        elif isinstance(value, Tensor):
            value = value if field.name in PER_TRAJECTORY else value[unique.first]
            value = value.double() if value.is_floating_point() else value
        changed[field.name] = value
    return RolloutSteps(**changed), unique.origin


def check_finite(batch: RolloutSteps) -> None:
    """Refuse rewards and penalties that no statistic can hold.

    Raises:
        TrainingError: naming the first trajectory or step at fault.
    """
    for trajectory in (~batch.rewards.isfinite()).nonzero().flatten().tolist()[:1]:
        raise TrainingError(f"the reward of trajectory {trajectory} is {float(batch.rewards[trajectory])}; expected a finite number")
    penalties = step_penalties(batch)
    require_finite_steps("reward", batch.step_rewards, batch.trajectory, batch.step)
    require_finite_steps("penalty", penalties, batch.trajectory, batch.step)
    for row in (penalties < 0).nonzero().flatten().tolist()[:1]:
        place = f"step {int(batch.step[row])} of trajectory {int(batch.trajectory[row])}"
        raise TrainingError(f"the penalty of {place} is {float(penalties[row])}; expected a number of at least 0")
