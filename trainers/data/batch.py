"""From trajectories to what algorithms and losses need: rows, the axis N of generated tokens and the axis S of steps.

Rules:
    - Failed episodes (`StopReason.ERROR`) are no part of a batch, nor is a group that they reduced to one trajectory.
    - A step that generated nothing stays on the axis S with entropy NaN.
    - The entropy of a step is the mean over its generated tokens: thought, action and end of turn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from empg_gym.errors import ConfigError, TrainingError, nearest
from empg_gym.trainers.algorithms import RolloutSteps
from empg_gym.trainers.data.rows import TokenRow, rows_of
from empg_gym.trajectory import StopReason, Trajectory


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutBatch:
    """The finished episodes of one rollout, in order."""

    trajectories: list[Trajectory]
    """[T]"""
    rows: list[TokenRow]
    """Of all trajectories, in order."""
    step_of_token: Tensor
    """[N] index into S of every generated token."""
    row_of_token: Tensor
    """[N] index into `rows`."""
    trajectory_of_step: Tensor
    """[S] index into T."""
    step: Tensor
    """[S] index of the step in its trajectory."""
    rollout_logprobs: Tensor
    """[N] as the generator gave them; NaN where it gave none."""
    rollout_entropies: Tensor
    """[N] likewise, in nats."""

    def step_entropies(self, entropies: Tensor) -> Tensor:
        """Return [S] the mean of [N] token entropies over each step; NaN where the step generated nothing."""
        count = torch.zeros(len(self.step), dtype=torch.float64).index_add_(0, self.step_of_token, torch.ones_like(entropies).double())
        total = torch.zeros(len(self.step), dtype=torch.float64).index_add_(0, self.step_of_token, entropies.double())
        return total / count

    def steps(self, rewards: Tensor, entropies: Tensor) -> RolloutSteps:
        """Return what advantage functions see.

        Args:
            rewards: [T] reward of each trajectory.
            entropies: [N] entropy of each generated token under the old policy.
        """
        steps = [step for trajectory in self.trajectories for step in trajectory.steps]
        return RolloutSteps(
            rewards=rewards,
            groups=torch.tensor([trajectory.group for trajectory in self.trajectories]),
            trajectory=self.trajectory_of_step,
            step=self.step,
            entropies=self.step_entropies(entropies),
            step_rewards=torch.tensor([step.reward for step in steps], dtype=torch.float64),
        )


def make_batch(trajectories: Sequence[Trajectory]) -> RolloutBatch:
    """Turn the episodes of a rollout into a batch."""
    kept = usable(trajectories)
    rows = [row for position, trajectory in enumerate(kept) for row in rows_of(trajectory, position)]
    lengths = torch.tensor([len(trajectory.steps) for trajectory in kept], dtype=torch.long)
    first_step = lengths.cumsum(0) - lengths
    return RolloutBatch(
        trajectories=kept,
        rows=rows,
        step_of_token=_cat([first_step[row.trajectory] + row.step[row.generated] for row in rows]),
        row_of_token=_cat([torch.full((int(row.generated.sum()),), index) for index, row in enumerate(rows)]),
        trajectory_of_step=torch.arange(len(kept)).repeat_interleave(lengths),
        step=_cat([torch.arange(int(length)) for length in lengths]),
        rollout_logprobs=_tokens(kept, "logprobs"),
        rollout_entropies=_tokens(kept, "entropies"),
    )


def usable(trajectories: Sequence[Trajectory]) -> list[Trajectory]:
    """Return the trajectories that may enter a loss."""
    finished = [item for item in trajectories if item.stop_reason is not StopReason.ERROR and item.steps]
    before, left = Counter(item.group for item in trajectories), Counter(item.group for item in finished)
    return [item for item in finished if left[item.group] > 1 or before[item.group] == 1]


def require_episodes(trajectories: Sequence[Trajectory], place: str) -> None:
    """Check that not all episodes of a batch failed.

    Args:
        trajectories: of the batch.
        place: which batch, for the error.

    Raises:
        TrainingError: no episode had a step without failing.
    """
    failed = [item for item in trajectories if item.stop_reason is StopReason.ERROR or not item.steps]
    if trajectories and len(failed) == len(trajectories):
        reason = failed[0].error or f"it ended before its first response ({failed[0].stop_reason})"
        raise TrainingError(
            f"all {len(failed)} episodes of {place} failed, so there is nothing to learn from; the first: {reason}. "
            "Mend the cause, then go on from the latest checkpoint with --resume"
        )


REWARDS: dict[str, Callable[[Trajectory], float]] = {
    "success": lambda trajectory: float(trajectory.success),
    "score": lambda trajectory: trajectory.score,
    "return": lambda trajectory: trajectory.total_reward,
}
"""What a trajectory is rewarded for, by name."""


def trajectory_rewards(trajectories: Sequence[Trajectory], reward: str, scale: float = 1.0, invalid_action_penalty: float = 0.0) -> Tensor:
    """Return [T] the scaled reward of each trajectory, less a penalty for each step whose action could not be carried out.

    Raises:
        ConfigError: no reward of that name.
    """
    if reward not in REWARDS:
        raise ConfigError(f"unknown reward {reward!r}; {nearest(reward, REWARDS)}")
    values = [
        scale * REWARDS[reward](item) - invalid_action_penalty * sum(not step.valid_action for step in item.steps) for item in trajectories
    ]
    return torch.tensor(values, dtype=torch.float64)


def _cat(parts: list[Tensor]) -> Tensor:
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.long)


def _tokens(trajectories: Sequence[Trajectory], name: str) -> Tensor:
    """Return [N] a quantity that steps hold for each generated token. Steps stand in the order of their rows' tokens."""
    parts = []
    for trajectory in trajectories:
        for step in trajectory.steps:
            assert step.response_token_ids is not None
            values = getattr(step, name)
            parts.append(np.full(len(step.response_token_ids), np.nan, np.float32) if values is None else values)
    return torch.from_numpy(np.concatenate(parts).astype(np.float32)) if parts else torch.zeros(0)
