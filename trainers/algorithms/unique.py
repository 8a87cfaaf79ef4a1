"""The steps of a batch once each, in sorted order.

A batch may hold a step twice (a row copied as padding) and in any order. A statistic over `UniqueSteps` is independent of both, to the bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from empg_gym.trainers.algorithms.credit import pair_ids


@dataclass(frozen=True, slots=True, kw_only=True)
class UniqueSteps:
    """The U distinct (trajectory, step) pairs of S entries, sorted.

    Example:
        Entries (0, 1), (0, 0), (0, 1), (2, 0) give::

            UniqueSteps(trajectory=[0, 0, 2], step=[0, 1, 0], first=[1, 0, 3], origin=[1, 0, 1, 2], next=[1, -1, -1])
    """

    trajectory: Tensor
    """[U] id of the trajectory."""
    step: Tensor
    """[U] index of the step in its trajectory."""
    first: Tensor
    """[U] the first entry that holds the pair, an index into S."""
    origin: Tensor
    """[S] the pair of each entry, an index into U."""
    next: Tensor
    """[U] the pair (trajectory, step + 1), an index into U; -1 where it is absent."""


def unique_steps(trajectory: Tensor, step: Tensor) -> UniqueSteps:
    """Return the distinct steps of [S] trajectory ids and [S] step indices."""
    distinct, origin = pair_ids(trajectory, step).unique(return_inverse=True)
    entries = torch.arange(len(origin), device=origin.device)
    first = torch.full_like(distinct, len(origin)).scatter_reduce(0, origin, entries, "amin")
    trajectory, step = trajectory[first], step[first]
    has_next = (trajectory[1:] == trajectory[:-1]) & (step[1:] == step[:-1] + 1)
    following = torch.full_like(distinct, -1)
    following[:-1] = torch.where(has_next, torch.arange(len(distinct), device=origin.device)[1:], -1)
    return UniqueSteps(trajectory=trajectory, step=step, first=first, origin=origin, next=following)
