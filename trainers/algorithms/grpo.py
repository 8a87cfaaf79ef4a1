"""GRPO: a trajectory is as good as it is better than others of its group (Shao et al. 2024, arXiv 2402.03300).

    A(i) = (R_i - mean(R)) / (std(R) + eps)          over the G trajectories of the group, std unbiased

Decided here:
    - Statistics run over trajectories, one value each. (verl-agent's default runs over step rows, so that long trajectories weigh more.)
    - A group of one has mean 0 and std 1, as in verl, so A = R / (1 + eps): plain REINFORCE. The training loop drops a group that failed
      episodes have reduced to one, because that reward was meant to be compared.
    - Equal rewards give exactly 0: such a group says nothing.
    - `scale=False` leaves the division out (Dr. GRPO).
"""

from __future__ import annotations

import torch
from torch import Tensor

from empg_gym.trainers.algorithms import register_advantage
from empg_gym.trainers.algorithms.base import Advantages, RolloutSteps

EPSILON = 1e-6


def advantages(rewards: Tensor, groups: Tensor, *, scale: bool = True, epsilon: float = EPSILON) -> Tensor:
    """Return the group-relative advantage of every trajectory.

    Args:
        rewards: [T] reward of each trajectory.
        groups: [T] integer id of each trajectory's group, in any order.
        scale: whether to divide by the group's standard deviation.
        epsilon: added to the standard deviation.

    Returns:
        [T] advantages in the dtype of `rewards`.
    """
    result = torch.zeros(len(rewards), dtype=torch.float64)
    for group in groups.unique():
        members = groups == group
        result[members] = _group(rewards[members].double(), scale, epsilon)
    return result.to(rewards.dtype)


def _group(rewards_G: Tensor, scale: bool, epsilon: float) -> Tensor:
    if len(rewards_G) == 1:
        return rewards_G / (1.0 + epsilon) if scale else rewards_G
    if bool((rewards_G == rewards_G[0]).all()):
        return torch.zeros_like(rewards_G)
    centred = rewards_G - rewards_G.mean()
    return centred / (rewards_G.std(unbiased=True) + epsilon) if scale else centred


@register_advantage("grpo")
def grpo(batch: RolloutSteps, *, scale: bool = True, epsilon: float = EPSILON) -> Advantages:
    """GRPO's advantage; every step has its trajectory's."""
    values = advantages(batch.rewards, batch.groups, scale=scale, epsilon=epsilon)[batch.trajectory]
    return Advantages(values=values, base=values)
