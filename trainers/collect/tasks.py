"""Task sources: which tasks a training step plays.

A task source is a function `(TaskRequest, *, options) -> list[GroupSpec]` of its arguments alone, so that a resumed run draws what the
uninterrupted one would have drawn: the step number is the cursor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from empg_gym.agent_env import LLMAgentEnv
from empg_gym.errors import ConfigError
from empg_gym.recipe import EnvRecipe
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
    task_type: Callable[[int], str]
    """Returns the type of the task at an index of the training split, "" in an environment without types."""


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
    rng = _generator(request)
    tasks = rng.choice(request.num_tasks, size=request.tasks, replace=request.num_tasks < request.tasks)
    return _specs(request, tasks.tolist(), rng)


@TASK_SOURCES.register("weighted")
def weighted(request: TaskRequest, *, weights: Mapping[str, float]) -> list[GroupSpec]:
    """Draw some types of tasks more often than others, with replacement.

    Args:
        request: what the training step asks for.
        weights: of task types, relative to 1 for those that are not named.

    Raises:
        ConfigError: a weight is not above 0.
    """
    if not all(weight > 0 for weight in weights.values()):
        raise ConfigError(f"the weights of task types must be above 0, not {dict(weights)}")
    rng = _generator(request)
    largest = max([1.0, *weights.values()])
    tasks: list[int] = []
    while len(tasks) < request.tasks:
        task = int(rng.integers(request.num_tasks))
        if rng.random() * largest < weights.get(request.task_type(task), 1.0):
            tasks.append(task)
    return _specs(request, tasks, rng)


class TaskTypes:
    """The types of the tasks of a split, each read when it is first asked for.

    Args:
        recipe: of the environment, which is made at the first call.
    """

    def __init__(self, recipe: EnvRecipe) -> None:
        self._recipe = recipe
        self._env: LLMAgentEnv | None = None
        self._known: dict[int, str] = {}

    def __call__(self, task: int) -> str:
        """Return the type of the task at an index."""
        if task not in self._known:
            self._env = self._env or self._recipe.make()
            self._env.reset(seed=0, options={"task": task})
            self._known[task] = self._env.text_env.task_type
        return self._known[task]

    def close(self) -> None:
        """Close the environment."""
        if self._env is not None:
            self._env.close()


def _generator(request: TaskRequest) -> np.random.Generator:
    if request.round == 0:
        return stream(request.seed, Stream.TRAINING_TASKS, request.step)
    return stream(request.seed, Stream.MORE_TASKS, request.step, request.round)


def _specs(request: TaskRequest, tasks: list[int], rng: np.random.Generator) -> list[GroupSpec]:
    seeds = rng.integers(2**31, size=len(tasks)).tolist()
    first = request.round * request.tasks
    return [GroupSpec(group=first + index, task=task, seed=seed) for index, (task, seed) in enumerate(zip(tasks, seeds, strict=True))]
