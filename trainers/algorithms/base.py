"""The inputs and outputs of the algorithms.

Vocabulary (one letter, one axis):
    T   trajectories of the rollout batch, all groups together; failed episodes are excluded
    S   steps of those trajectories, one entry per step, never padded
    N   generated tokens of one micro-batch, rows one after the other

Rules:
    - An advantage function sees the whole rollout batch at once, without gradient, and returns one number per step; every generated token
      of the step gets it. Statistics are therefore functions of all steps, however the batch is later split over devices.
    - A step that a branch shares with the trajectory it was forked from appears once on S, under the trajectory that generated it.
    - Fields that only some methods need are optional. A method that needs an absent one calls `RolloutSteps.require`, which names it.
    - A policy loss sees whole rows, so that it can form a ratio per row (GSPO) or weight tokens by their current entropy (AEPO).
    - `weights` hold the aggregation: they are computed once per mini-batch, so the losses of its micro-batches add up to the
      mini-batch's loss.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from empg_gym.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutSteps:
    """A rollout batch as advantage functions see it.

    Example:
        Two trajectories of one group, the first with two steps, the second with one::

            RolloutSteps(
                rewards=tensor([1.0, 0.0]), groups=tensor([0, 0]), trajectory=tensor([0, 0, 1]), step=tensor([0, 1, 0]),
                entropies=tensor([0.3, 0.9, 0.4]), step_rewards=tensor([0.0, 1.0, 0.0]),
                success=tensor([True, False]), state=tensor([0, 1, 0]), next_state=tensor([1, 2, 3]),
            )
    """

    rewards: Tensor
    """[T] float64, reward of the trajectory: the outcome times `rl.reward_scale`, after shaping, without step penalties."""
    groups: Tensor
    """[T] int64 id of the group (same task and seed)."""
    trajectory: Tensor
    """[S] int64 index into T."""
    step: Tensor
    """[S] int64 index of the step in its trajectory, from 0."""
    entropies: Tensor
    """[S] float64, mean token entropy of the step under the old policy, in nats; NaN where the step generated nothing."""
    step_rewards: Tensor
    """[S] float64, the environment's reward of the step times `rl.reward_scale`."""
    success: Tensor | None = None
    """[T] bool, the environment's success flag."""
    truncated: Tensor | None = None
    """[T] bool, whether a limit ended the episode."""
    penalties: Tensor | None = None
    """[S] float64 >= 0, penalty of the step (an invalid action), already times its coefficient."""
    valid: Tensor | None = None
    """[S] bool, whether the environment could carry out the action."""
    state: Tensor | None = None
    """[S] int64 id of the state before the step; equal ids mean equal states of the same group."""
    next_state: Tensor | None = None
    """[S] int64 id of the state after the step; on the last step of a trajectory that of the final state. Same ids as `state`."""
    actions: tuple[str, ...] | None = None
    """[S] executed action; "" where it was malformed."""
    gold_logprobs: Tensor | None = None
    """[S] float64, mean log-probability of the gold answer before the step, under the old policy; NaN where unknown (IGPO)."""
    tree: Tensor | None = None
    """[T] int64 id of the tree that the trajectory belongs to; without branches each trajectory is a tree of its own."""
    parent: Tensor | None = None
    """[T] int64 index into T of the trajectory it was forked from, -1 for none."""
    branch_step: Tensor | None = None
    """[T] int64 index of the first step of its own; earlier steps are its ancestors'. 0 without a parent."""

    def require(self, method: str, *names: str) -> None:
        """Check that optional fields are present.

        Raises:
            ConfigError: the batch lacks one of `names`; the error names `method` and the field.
        """
        for name in names:
            if getattr(self, name) is None:
                raise ConfigError(f"{method} needs RolloutSteps.{name}, which this batch lacks")


@dataclass(frozen=True, slots=True, kw_only=True)
class Advantages:
    """The result of an advantage function."""

    values: Tensor
    """[S] advantage of the step."""
    base: Tensor
    """[S] the advantage before any modulation; the same as `values` where there is none."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Values for the metrics of the training step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyTokens:
    """The generated tokens of a micro-batch as policy losses see them."""

    logprobs: Tensor
    """[N] of the current policy, with gradient."""
    old_logprobs: Tensor
    """[N] of the policy that the advantages belong to."""
    advantages: Tensor
    """[N]"""
    weights: Tensor
    """[N] share of the token in the mini-batch's loss."""
    row: Tensor
    """[N] index of the token's row in the micro-batch."""
    step: Tensor | None = None
    """[N] index of the token's step in the micro-batch: equal numbers belong to the same step of the same row."""
    entropies: Tensor | None = None
    """[N] of the current policy, in nats, without gradient; None unless the policy loss declares that it needs them."""
    old_entropies: Tensor | None = None
    """[N] of the policy that the advantages belong to, in nats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyLoss:
    """The result of a policy loss."""

    loss: Tensor
    """Scalar: the micro-batch's share of the mini-batch's loss."""
    clipped: Tensor
    """[N] bool: tokens whose gradient the clip removed."""
