"""What the rewards of a group say about its task: solved, failed, or mixed."""

from __future__ import annotations

from enum import IntEnum

import torch
from torch import Tensor

from empg_gym.trainers.algorithms.base import RolloutSteps
from empg_gym.trainers.algorithms.credit import group_means, varies, visits


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
    all_solved = group_means(success.double(), batch.groups) == 1.0
    kinds = torch.where(all_solved, int(GroupKind.SOLVED), int(GroupKind.FAILED))
    mixed = varies(batch.rewards, batch.groups) | (visits(batch.groups) == 1)
    return kinds.masked_fill(mixed, int(GroupKind.MIXED))
