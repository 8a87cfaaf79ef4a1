"""Checks of the numbers that enter an advantage.

One value that is not finite would make every statistic of its batch not finite. It is therefore refused, with the name of its step, before
any statistic is taken. The one exception is the entropy of a step that generated nothing: NaN by definition.
"""

from __future__ import annotations

import torch
from torch import Tensor

from empg_gym.errors import ConfigError, TrainingError
from empg_gym.trainers.algorithms.credit import Penalty, check_choice


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


def check_trajectory_penalty(penalty: Penalty) -> None:
    """Check the placement of penalties in a method that has statistics over trajectories only.

    Raises:
        ConfigError: `penalty` is unknown, or "return": a trajectory has no score of a single step.
    """
    check_choice("penalty placement", penalty, Penalty)
    if penalty == "return":
        raise ConfigError("penalty = 'return' needs a statistic over steps; use 'advantage' or 'reward'")
