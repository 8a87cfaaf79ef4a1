"""Where the penalty p_t of a step goes, the same three placements in every method.

"advantage"  A_t - p_t, unscaled, after all normalisation (default). It acts on the offending step only and has the same size in
             every group.
"return"     before the normalisation, as verl-agent does: subtracted from what the step term normalises, and from the step's score
             with `cross_steps`; never from earlier steps. A group of failures with one invalid step then raises all of its other
             steps.
"reward"     R_i - sum of the trajectory's p_t, before the normalisation: all steps of the trajectory share the blame.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from empg_gym.errors import ConfigError
from empg_gym.trainers.algorithms.base import RolloutSteps
from empg_gym.trainers.algorithms.checks import check_choice

Penalty = Literal["advantage", "return", "reward"]


def check_penalty(penalty: str) -> None:
    """Refuse an unknown placement of the penalty.

    Raises:
        ConfigError: naming the nearest one.
    """
    check_choice("penalty placement", penalty, Penalty)


def check_trajectory_penalty(penalty: Penalty) -> None:
    """Check the placement of penalties in a method that has statistics over trajectories only.

    Raises:
        ConfigError: `penalty` is unknown, or "return": a trajectory has no score of a single step.
    """
    check_penalty(penalty)
    if penalty == "return":
        raise ConfigError("penalty = 'return' needs a statistic over steps; use 'advantage' or 'reward'")


def step_penalties(batch: RolloutSteps) -> Tensor:
    """Return [S] the penalty of each step; 0 where the batch has none."""
    return torch.zeros_like(batch.step_rewards) if batch.penalties is None else batch.penalties


def before_normalisation(values: Tensor, batch: RolloutSteps, penalty: Penalty) -> Tensor:
    """Return [S] values less the penalties, with `penalty="return"`; else the values."""
    return values - step_penalties(batch) if penalty == "return" else values


def after_normalisation(advantages: Tensor, batch: RolloutSteps, penalty: Penalty) -> Tensor:
    """Return [S] A_t - p_t, with `penalty="advantage"`; else the advantages."""
    return advantages - step_penalties(batch) if penalty == "advantage" else advantages


def penalised_rewards(batch: RolloutSteps, penalty: Penalty) -> Tensor:
    """Return [T] R_i less the trajectory's penalties, with `penalty="reward"`; else R_i."""
    return batch.rewards.index_add(0, batch.trajectory, -step_penalties(batch)) if penalty == "reward" else batch.rewards
