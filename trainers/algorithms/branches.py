"""Advantages of steps that several episodes share.

A branched rollout stores a shared step once, with the episode that generated it. Its advantage is the mean over all episodes whose path
goes through it (ARPO's hard estimate; Dong et al. 2025, arXiv 2507.19849). Without branches that is the advantage of the step's own
trajectory, bit by bit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from empg_gym.trainers.algorithms.base import RolloutSteps


def mean_over_paths(values: Tensor, batch: RolloutSteps) -> Tensor:
    """Return [S] the mean of trajectory values over the trajectories whose path goes through each step.

    Args:
        values: [T] a number for each trajectory.
        batch: with `parent` and `branch_step` where episodes were branched.
    """
    own = values[batch.trajectory]
    if batch.parent is None or batch.branch_step is None or not bool((batch.parent >= 0).any()):
        return own
    total, count = own.double(), torch.ones(len(own), dtype=torch.float64)
    for descendant in (batch.parent >= 0).nonzero().flatten().tolist():
        child, reach = descendant, int(batch.branch_step[descendant])
        while int(batch.parent[child]) >= 0:
            reach = min(reach, int(batch.branch_step[child]))
            child = int(batch.parent[child])
            shared = (batch.trajectory == child) & (batch.step < reach)
            total[shared] += values[descendant].double()
            count[shared] += 1
    return (total / count).to(own.dtype)
