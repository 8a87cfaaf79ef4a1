"""What the rewards of a group say about its task: solved, failed, or mixed."""

from __future__ import annotations

from enum import IntEnum

import torch
from torch import Tensor

from empg_gym.trainers.algorithms.base import RolloutSteps


class GroupKind(IntEnum):
    """The outcome of a group's episodes."""

    FAILED = 0
    """Equal rewards, and not all episodes succeeded."""
    SOLVED = 1
    """Equal rewards, and every episode succeeded."""
    MIXED = 2
    """Rewards differ, or the group has one member and nothing to compare it with."""


def group_kinds(batch: RolloutSteps) -> Tensor:
    """Return [T] the `GroupKind` of each trajectory's group.

    Success is the environment's flag. Without flags an episode with a reward above 0 counts as a success.
    """
    success = batch.rewards > 0 if batch.success is None else batch.success
    _, index, sizes = batch.groups.unique(return_inverse=True, return_counts=True)
    lowest = torch.full((len(sizes),), torch.inf, dtype=batch.rewards.dtype).scatter_reduce(0, index, batch.rewards, "amin")
    highest = torch.full((len(sizes),), -torch.inf, dtype=batch.rewards.dtype).scatter_reduce(0, index, batch.rewards, "amax")
    solved = torch.ones(len(sizes), dtype=torch.long).scatter_reduce(0, index, success.long(), "amin")
    kinds = torch.where((lowest < highest) | (sizes == 1), int(GroupKind.MIXED), solved)
    return kinds[index]
