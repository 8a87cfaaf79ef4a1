"""Turn trajectories into a batch for algorithms and losses: rows, the axis N of generated tokens and the axis S of steps.

Rules:
    - Failed episodes (`StopReason.ERROR`) are excluded from a batch, and so is a group of which they leave only one trajectory. Filters see
      the others.
    - A step that a branch shares with its parent is in the batch once, with the parent; in the branch's row its tokens are context. Where a
      filter dropped the parent, the nearest ancestor in the batch takes its place.
    - A step that generated nothing stays on the axis S with entropy NaN.
    - The entropy of a step is the mean over its generated tokens: thought, action and end-of-turn token.
    - States are numbered within a group, so that equal numbers mean equal states of the same group.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from empg_gym.errors import TrainingError
from empg_gym.trainers.algorithms import RolloutSteps
from empg_gym.trainers.data.rewards import success
from empg_gym.trainers.data.rows import TokenRow, rows_of
from empg_gym.trajectory import Step, StopReason, Trajectory, path_of

StateKey = Literal["state", "observation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutBatch:
    """The finished episodes of one rollout, in order."""

    trajectories: list[Trajectory]
    """[T]"""
    rows: list[TokenRow]
    """Rows of all trajectories, in order."""
    step_of_token: Tensor
    """[N] index into S of every generated token."""
    row_of_token: Tensor
    """[N] index into `rows`."""
    trajectory_of_step: Tensor
    """[S] index into T."""
    step: Tensor
    """[S] index of the step in its episode: a branch's own steps begin at its branch step."""
    rollout_logprobs: Tensor
    """[N] log-probabilities reported by the generator; NaN where it reported none."""
    rollout_entropies: Tensor
    """[N] entropies reported by the generator, in nats; NaN where it reported none."""
    rewards: Tensor
    """[T] float64, scaled and shaped."""
    penalties: Tensor
    """[S] float64, penalty of each step."""
    tree: Tensor
    """[T] id of the tree that the trajectory belongs to."""
    parent: Tensor
    """[T] index into T of the nearest ancestor in the batch, -1 for none."""
    branch_step: Tensor
    """[T] number of steps shared with it, 0 for none."""
    reward_scale: float = 1.0
    """Factor of the environment's step rewards."""

    def step_entropies(self, entropies: Tensor) -> Tensor:
        """Return [S] the mean of [N] token entropies over each step; NaN where the step generated nothing."""
        count = torch.zeros(len(self.step), dtype=torch.float64).index_add_(0, self.step_of_token, torch.ones_like(entropies).double())
        total = torch.zeros(len(self.step), dtype=torch.float64).index_add_(0, self.step_of_token, entropies.double())
        return total / count

    def steps(self, entropies: Tensor, *, state_key: StateKey = "state", gold_logprobs: Tensor | None = None) -> RolloutSteps:
        """Return the batch in the form that advantage functions receive.

        Args:
            entropies: [N] entropy of each generated token under the old policy, in nats.
            state_key: how states are identified: by the environment's exact key, or by the observation text.
            gold_logprobs: [S] mean log-probability of the gold answer before each step, where an advantage needs it.
        """
        steps = [step for trajectory in self.trajectories for step in trajectory.steps]
        states = _state_ids(self.trajectories, state_key)
        return RolloutSteps(
            rewards=self.rewards,
            groups=torch.tensor([trajectory.group for trajectory in self.trajectories]),
            trajectory=self.trajectory_of_step,
            step=self.step,
            entropies=self.step_entropies(entropies),
            step_rewards=self.reward_scale * torch.tensor([step.reward for step in steps], dtype=torch.float64),
            success=torch.tensor([trajectory.success for trajectory in self.trajectories]),
            truncated=torch.tensor([trajectory.stop_reason is not StopReason.TERMINATED for trajectory in self.trajectories]),
            penalties=self.penalties,
            valid=torch.tensor([step.valid_action for step in steps]),
            state=None if states is None else states[0],
            next_state=None if states is None else states[1],
            actions=tuple(step.action for step in steps),
            gold_logprobs=gold_logprobs,
            tree=self.tree,
            parent=self.parent,
            branch_step=self.branch_step,
        )


def make_batch(
    trajectories: Sequence[Trajectory],
    outcome: Callable[[Trajectory], float] = success,
    *,
    filters: Sequence[Callable[[Sequence[Trajectory], Sequence[float]], Sequence[bool]]] = (),
    shapers: Sequence[Callable[[Trajectory], float]] = (),
    reward_scale: float = 1.0,
    invalid_action_penalty: float = 0.0,
) -> RolloutBatch:
    """Turn the usable episodes of a rollout into a batch.

    Args:
        trajectories: episodes with token ids; unusable ones (`usable`) are left out.
        outcome: function that returns a trajectory's outcome.
        filters: functions of the usable trajectories and their outcomes that return whether each is kept.
        shapers: functions of a trajectory; their results are added to the scaled outcome. Of a branch they see the whole path.
        reward_scale: factor of outcomes and step rewards.
        invalid_action_penalty: penalty of a step whose action could not be carried out.

    Raises:
        TrainingError: a reward is not finite.
    """
    kept = usable(trajectories)
    for keep in filters:
        wanted = keep(kept, [outcome(item) for item in kept])
        kept = [item for item, chosen in zip(kept, wanted, strict=True) if chosen]
    prefixes = [_prefix(trajectory, trajectories) for trajectory in kept]
    rows = [row for position, (item, prefix) in enumerate(zip(kept, prefixes, strict=True)) for row in rows_of(item, position, prefix)]
    lengths = torch.tensor([len(trajectory.steps) for trajectory in kept], dtype=torch.long)
    first_step = lengths.cumsum(0) - lengths
    invalid = [not step.valid_action for trajectory in kept for step in trajectory.steps]
    return RolloutBatch(
        trajectories=kept,
        rows=rows,
        step_of_token=_cat([first_step[row.trajectory] + row.step[row.generated] for row in rows]),
        row_of_token=_cat([torch.full((int(row.generated.sum()),), index) for index, row in enumerate(rows)]),
        trajectory_of_step=torch.arange(len(kept)).repeat_interleave(lengths),
        step=_cat([item.branch_step + torch.arange(len(item.steps)) for item in kept]),
        rollout_logprobs=_tokens(kept, "logprobs"),
        rollout_entropies=_tokens(kept, "entropies"),
        rewards=torch.tensor([reward_of(item, trajectories, outcome, shapers, reward_scale) for item in kept], dtype=torch.float64),
        penalties=invalid_action_penalty * torch.tensor(invalid, dtype=torch.float64),
        reward_scale=reward_scale,
        **_forks(kept, trajectories),
    )


def has_outcome(trajectory: Trajectory) -> bool:
    """Whether an episode has steps and ended without an error, so that it can be compared with others."""
    return trajectory.stop_reason is not StopReason.ERROR and bool(trajectory.steps)


def usable(trajectories: Sequence[Trajectory]) -> list[Trajectory]:
    """Return the trajectories that can be trained on."""
    finished = [item for item in trajectories if has_outcome(item)]
    before, left = Counter(item.group for item in trajectories), Counter(item.group for item in finished)
    return [item for item in finished if left[item.group] > 1 or before[item.group] == 1]


def require_episodes(trajectories: Sequence[Trajectory], place: str) -> None:
    """Check that not all episodes of a batch failed.

    Args:
        trajectories: the episodes of the batch.
        place: name of the batch in the error.

    Raises:
        TrainingError: every episode failed or has no step.
    """
    failed = [item for item in trajectories if not has_outcome(item)]
    if trajectories and len(failed) == len(trajectories):
        reason = failed[0].error or f"it ended before its first response ({failed[0].stop_reason})"
        raise TrainingError(
            f"all {len(failed)} episodes of {place} failed, so there is nothing to learn from; the first: {reason}. "
            "Fix the cause, then resume from the latest checkpoint with --resume"
        )


def _prefix(trajectory: Trajectory, others: Sequence[Trajectory]) -> list[Step]:
    """Return the steps before a trajectory's own."""
    return [] if trajectory.parent is None else path_of(trajectory, others)[: trajectory.branch_step]


def _forks(kept: Sequence[Trajectory], trajectories: Sequence[Trajectory]) -> dict[str, Tensor]:
    """Return [T] tree, parent and branch step of the trajectories in `kept`, whose ancestors are in `trajectories`."""
    known = {(item.group, item.repeat): item for item in trajectories}
    places = {(item.group, item.repeat): index for index, item in enumerate(kept)}
    trees: dict[tuple[int, int], int] = {}
    tree, parent, branch_step = [], [], []
    for item in kept:
        shared, ancestor = item.branch_step, item.parent
        while ancestor is not None and (item.group, ancestor) not in places:
            lost = known[item.group, ancestor]
            shared, ancestor = min(shared, lost.branch_step), lost.parent
        parent.append(-1 if ancestor is None else places[item.group, ancestor])
        branch_step.append(0 if ancestor is None else shared)
        root = item
        while root.parent is not None:
            root = known[root.group, root.parent]
        tree.append(trees.setdefault((root.group, root.repeat), len(trees)))
    forks = {"tree": tree, "parent": parent, "branch_step": branch_step}
    return {name: torch.tensor(values, dtype=torch.long) for name, values in forks.items()}


def reward_of(
    trajectory: Trajectory,
    others: Sequence[Trajectory],
    outcome: Callable[[Trajectory], float],
    shapers: Sequence[Callable[[Trajectory], float]],
    scale: float,
) -> float:
    """Return the scaled and shaped reward of a trajectory whose ancestors are among `others`.

    Raises:
        TrainingError: it is not finite.
    """
    prefix = _prefix(trajectory, others)
    whole = replace(trajectory, steps=[*prefix, *trajectory.steps]) if prefix else trajectory
    reward = scale * outcome(trajectory) + sum(shape(whole) for shape in shapers)
    if not math.isfinite(reward):
        raise TrainingError(
            f"the reward of task {trajectory.task!r} (group {trajectory.group}, repeat {trajectory.repeat}) is {reward}; "
            "expected a finite number: check rl.reward and the reward shapers"
        )
    return reward


def _state_ids(trajectories: Sequence[Trajectory], state_key: StateKey) -> tuple[Tensor, Tensor] | None:
    """Return [S] ids of the states before and after each step, or None if the steps have no keys."""
    numbers: dict[tuple[int, str], int] = {}
    before: list[int] = []
    after: list[int] = []
    for trajectory in trajectories:
        if state_key == "observation":
            keys = [*(step.observation for step in trajectory.steps), trajectory.final_observation]
        else:
            keys = [*(step.state_key for step in trajectory.steps), trajectory.final_state_key]
        if not all(keys[:-1]):
            return None
        ids = [numbers.setdefault((trajectory.group, key), len(numbers)) for key in keys]
        before += ids[:-1]
        after += ids[1:]
    return torch.tensor(before), torch.tensor(after)


def _cat(parts: list[Tensor]) -> Tensor:
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.long)


def _tokens(trajectories: Sequence[Trajectory], name: str) -> Tensor:
    """Return [N] a quantity that steps have per generated token. The order of the steps is that of their rows' tokens."""
    parts = []
    for trajectory in trajectories:
        for step in trajectory.steps:
            assert step.response_token_ids is not None
            values = getattr(step, name)
            parts.append(np.full(len(step.response_token_ids), np.nan, np.float32) if values is None else values)
    return torch.from_numpy(np.concatenate(parts).astype(np.float32)) if parts else torch.zeros(0)
