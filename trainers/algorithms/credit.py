"""Statistics that the advantage methods share, one line each.

Rules:
    - They expect distinct steps in order (`distinct.on_distinct_steps`) and float64.
    - States are compared inside a task group only, whatever ids the batch gives them.
    - Values that are all equal normalise to exactly 0, so that rounding never becomes a signal.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from empg_gym.trainers.algorithms.base import RolloutSteps

EPSILON = 1e-6


def normalise(
    values: Tensor,
    ids: Tensor,
    *,
    scale: bool = True,
    ddof: int = 1,
    epsilon: float = EPSILON,
    singleton: Literal["zero", "keep"] = "zero",
) -> Tensor:
    """Return (x - mean) / (std + epsilon) over the values that share an id.

    Args:
        values: [n] float64.
        ids: [n] integers, in any order.
        scale: whether to divide by the standard deviation.
        ddof: 1 for the unbiased deviation, 0 for the population's.
        epsilon: added to the deviation.
        singleton: the result for an id that occurs once: 0, or the value itself (mean 0, deviation 1).

    Returns:
        [n]; exactly 0 where all values of an id are equal.
    """
    group, count = group_sizes(ids)
    centred = torch.where(_varies(values, group, count), values - _means(values, group, count), 0.0)
    if scale:
        variance = _totals(centred.square(), group, count) / (count - ddof).clamp(min=1)
        centred = centred / (variance.sqrt()[group] + epsilon)
    if singleton == "keep":
        return torch.where((count == 1)[group], values / (1.0 + epsilon) if scale else values, centred)
    return centred


def group_sizes(ids: Tensor) -> tuple[Tensor, Tensor]:
    """Return [n] ids renumbered from 0, and the number of values with each."""
    _, group, count = ids.unique(return_inverse=True, return_counts=True)
    return group, count


def group_means(values: Tensor, ids: Tensor) -> Tensor:
    """Return [n] the mean of the values that share each value's id."""
    return _means(values, *group_sizes(ids))


def varies(values: Tensor, ids: Tensor) -> Tensor:
    """Return [n] whether the values that share each value's id differ."""
    return _varies(values, *group_sizes(ids))


def _totals(values: Tensor, group: Tensor, count: Tensor) -> Tensor:
    return torch.zeros(len(count), dtype=values.dtype, device=values.device).index_add(0, group, values)


def _means(values: Tensor, group: Tensor, count: Tensor) -> Tensor:
    return (_totals(values, group, count) / count)[group]


def _varies(values: Tensor, group: Tensor, count: Tensor) -> Tensor:
    empty = torch.zeros(len(count), dtype=values.dtype, device=values.device)
    low, high = (empty.scatter_reduce(0, group, values, how, include_self=False) for how in ("amin", "amax"))
    return (low != high)[group]


def visits(ids: Tensor) -> Tensor:
    """Return [n] how many values share each value's id, itself included."""
    group, count = group_sizes(ids)
    return count[group]


def pair_ids(first: Tensor, second: Tensor) -> Tensor:
    """Return ids that are equal where both given ids are."""
    second_group, second_count = group_sizes(second)
    return group_sizes(first)[0] * len(second_count) + second_group


def step_groups(batch: RolloutSteps) -> Tensor:
    """Return [S] the task group of each step."""
    return batch.groups[batch.trajectory]


def state_groups(batch: RolloutSteps, method: str) -> Tensor:
    """Return [S] ids of the states before the steps, distinct between task groups.

    Raises:
        ConfigError: the batch has no states; the error names `method`.
    """
    batch.require(method, "state")
    assert batch.state is not None
    return pair_ids(step_groups(batch), batch.state)


def table(batch: RolloutSteps, values: Tensor, missing: float) -> Tensor:
    """Return [T, steps of the longest trajectory] the [S] values, `missing` where a trajectory has no such step."""
    shape = (len(batch.rewards), int(batch.step.max()) + 1)
    result = torch.full(shape, missing, dtype=values.dtype, device=values.device)
    result[batch.trajectory, batch.step] = values
    return result


def discounted_returns(batch: RolloutSteps, gamma: float) -> Tensor:
    """Return [S] G_t = sum over k >= t of gamma^(k - t) r_k, over the step rewards of the trajectory itself."""
    rewards_TL = table(batch, batch.step_rewards, 0.0)
    for step in range(rewards_TL.shape[1] - 2, -1, -1):
        rewards_TL[:, step] += gamma * rewards_TL[:, step + 1]
    return rewards_TL[batch.trajectory, batch.step]


def steps_to_go(batch: RolloutSteps) -> Tensor:
    """Return [S] the number of steps from each step to the end of its trajectory, itself included: 1 at the last step."""
    last = torch.zeros_like(batch.groups).scatter_reduce(0, batch.trajectory, batch.step, "amax", include_self=False)
    return last[batch.trajectory] - batch.step + 1


def previous_steps(batch: RolloutSteps) -> Tensor:
    """Return [S] the index into S of the step before each step, -1 for none.

    Before the first step of a branch comes the step of the trajectory that it was forked from.
    """
    row_TL = table(batch, torch.arange(len(batch.step), device=batch.step.device), -1)
    owner, step = batch.trajectory, batch.step - 1
    if batch.parent is not None and batch.branch_step is not None:
        while bool((climbs := (step < batch.branch_step[owner]) & (batch.parent[owner] >= 0)).any()):
            owner = torch.where(climbs, batch.parent[owner], owner)
    return torch.where(step >= 0, row_TL[owner, step.clamp(min=0)], -1)


def context_ids(batch: RolloutSteps, states: Tensor, length: int) -> list[Tensor]:
    """Return for k = 1..length the [S] ids of the last k states, the present one included; -1 where fewer came before.

    Args:
        batch: distinct steps.
        states: [S] ids of the states before the steps, as from `state_groups`.
        length: of the longest context.
    """
    previous = previous_steps(batch)
    contexts = [states]
    for _ in range(length - 1):
        shorter = torch.where(previous >= 0, contexts[-1][previous], -1)
        contexts.append(torch.where(shorter >= 0, pair_ids(shorter, states), -1))
    return contexts


def success_rewards(batch: RolloutSteps, reward: float | None) -> Tensor:
    """Return [S] what success is worth in the group of each step.

    That is `reward`, or by default the highest reward of the group's successful trajectories: 0 without any, and 1 where none is above 0,
    so that penalties which outweigh success never make it worse to come closer.
    """
    assert batch.success is not None
    if reward is not None:
        return torch.full_like(batch.step_rewards, reward)
    group, count = group_sizes(batch.groups)
    worth = torch.zeros(len(count), dtype=torch.float64, device=group.device)
    worth = worth.scatter_reduce(0, group[batch.success], batch.rewards[batch.success], "amax", include_self=False)
    solved = torch.zeros_like(worth).index_add(0, group, batch.success.double()) > 0
    return worth.masked_fill(solved & (worth <= 0), 1.0)[group][batch.trajectory]


def grouping_metrics(name: str, ids: Tensor) -> dict[str, float]:
    """Return how well the steps of the batch are grouped: a step that is alone in its group has no step term."""
    size = visits(ids).double()
    return {f"{name}/alone": float((size == 1).double().mean()), f"{name}/group_size": float(size.mean())}
