"""What the algorithms are given and what they return.

Vocabulary (one letter, one axis):
    T   trajectories of the rollout batch, all groups together; failed episodes are not among them
    S   steps of those trajectories, one entry a step, never padded
    N   generated tokens of one micro-batch, rows one after the other

Rules:
    - An advantage function sees the whole rollout batch at once, without gradient, and gives one number a step; every generated token
      of the step gets it. Statistics are therefore functions of all steps, however the batch is later split over devices.
    - A policy loss sees whole rows, so that it may form a ratio of a row (GSPO) or weigh tokens by their present entropy (AEPO).
    - `weights` hold the aggregation: they are made once a mini-batch, so the losses of its micro-batches add up to the mini-batch's loss.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutSteps:
    """A rollout batch as advantage functions see it.

    Example:
        Two trajectories of one group, the first with two steps, the second with one::

            RolloutSteps(
                rewards=tensor([1.0, 0.0]), groups=tensor([0, 0]), trajectory=tensor([0, 0, 1]), step=tensor([0, 1, 0]),
                entropies=tensor([0.3, 0.9, 0.4]), step_rewards=tensor([0.0, 1.0, 0.0]), states=("in a room", "at shelf 1", "in a room"),
            )
    """

    rewards: Tensor
    """[T] reward of the trajectory as it is trained on (penalties included)."""
    groups: Tensor
    """[T] integer id of the group (same task and seed)."""
    trajectory: Tensor
    """[S] index into T."""
    step: Tensor
    """[S] index of the step in its trajectory, from 0."""
    entropies: Tensor
    """[S] mean token entropy of the step under the old policy, in nats; NaN where the step generated nothing."""
    step_rewards: Tensor
    """[S] reward of the step itself (GiGPO discounts it)."""
    states: tuple[str, ...] = ()
    """[S] observation that the step answered (GiGPO groups equal ones)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advantages:
    """What an advantage function returns."""

    values: Tensor
    """[S] advantage of the step."""
    base: Tensor
    """[S] the trajectory's advantage before any modulation; the same as `values` where there is none."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Numbers for the metrics of the training step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyTokens:
    """The generated tokens of a micro-batch as policy losses see them."""

    logprobs: Tensor
    """[N] of the present policy, with gradient."""
    old_logprobs: Tensor
    """[N] of the policy that the advantages belong to."""
    advantages: Tensor
    """[N]"""
    weights: Tensor
    """[N] share of the token in the mini-batch's loss."""
    row: Tensor
    """[N] index of the token's row in the micro-batch."""
    entropies: Tensor
    """[N] of the present policy, in nats, without gradient."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyLoss:
    """What a policy loss returns."""

    loss: Tensor
    """Scalar: the micro-batch's share of the mini-batch's loss."""
    clipped: Tensor
    """[N] bool: tokens whose gradient the clip took away."""
