"""Task sources: which tasks a training step plays.

A task source is a function `(TaskRequest, *, options) -> list[GroupSpec]` of its arguments alone, so that a resumed run draws what the
uninterrupted one would have drawn: the step number is the cursor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from empg_gym.rng import Stream, stream
from empg_gym.rollout import EpisodeSpec
from empg_gym.trainers.registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRequest:
    """What a training step asks of its task source."""

    seed: int
    """Of the run."""
    step: int
    """Reinforcement step, from 0."""
    round: int
    """0, or the number of a further draw of the same step (dynamic sampling)."""
    tasks: int
    """Groups to draw."""
    num_tasks: int
    """Tasks of the training split."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSpec:
    """A group of episodes: one task, one environment seed."""

    group: int
    """Number of the group in its step: its place in the round, plus `TaskRequest.tasks` for each earlier round."""
    task: int
    """Index of the task in the training split."""
    seed: int
    """Seed of the environment, and with the repeat of the agent."""

    def episode(self, repeat: int) -> EpisodeSpec:
        """Return the specification of an episode of the group."""
        return EpisodeSpec(seed=self.seed, task=self.task, group=self.group, repeat=repeat)


def _groups(result: object, request: TaskRequest) -> str | None:
    if not isinstance(result, list) or not all(isinstance(item, GroupSpec) for item in result):
        return f"a list of GroupSpec, not {type(result).__name__}" + (f" of {type(result[0]).__name__}" if isinstance(result, list) else "")
    return None if result or request.round else "at least one GroupSpec, not an empty list"


TaskSource = Callable[..., list[GroupSpec]]
"""`(TaskRequest, *, options) -> list[GroupSpec]`"""
TASK_SOURCES: Registry[TaskSource] = Registry("task source", _groups)


@TASK_SOURCES.register("uniform")
def uniform(request: TaskRequest) -> list[GroupSpec]:
    """Draw tasks uniformly, without replacement where the split has enough of them."""
    if request.round == 0:
        rng = stream(request.seed, Stream.TRAINING_TASKS, request.step)
    else:
        rng = stream(request.seed, Stream.MORE_TASKS, request.step, request.round)
    tasks = rng.choice(request.num_tasks, size=request.tasks, replace=request.num_tasks < request.tasks)
    seeds = rng.integers(2**31, size=request.tasks)
    first = request.round * request.tasks
    return [
        GroupSpec(group=first + index, task=int(task), seed=int(seed)) for index, (task, seed) in enumerate(zip(tasks, seeds, strict=True))
    ]
