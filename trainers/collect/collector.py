"""The collector: plays the episodes of a training step as its task source and its rollout plan say.

Rules:
    - What is played is a function of (seed, step), and of the results of earlier rounds of the same step.
    - Every trajectory goes through the journal, and one that the journal already holds is not played again unless it failed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import numpy as np

from empg_gym.agent_env import EpisodePoint
from empg_gym.rng import Stream, stream
from empg_gym.rollout import EpisodeSpec, Rollout, run_sync
from empg_gym.trainers.collect.journal import Journal, Key, is_recording_of, record
from empg_gym.trainers.collect.plans import Collection, PlanRequest
from empg_gym.trainers.collect.tasks import GroupSpec, TaskRequest, TaskTypes
from empg_gym.trajectory import Trajectory, path_of


class StepCollector(Protocol):
    """Where a training step gets its episodes from."""

    def collect(self, step: int) -> Collection:
        """Return the episodes of a step, counted from 0."""
        ...


class Collector:
    """Collects the episodes of training steps.

    Args:
        rollout: plays them.
        journal: where finished trajectories go; None keeps no journal.
        source: the task source, with its options filled in.
        plan: the rollout plan, with its options filled in.
        outcome: of a trajectory, before shaping and penalties.
        seed: of the run.
        tasks: groups per step.
        repeats: episodes per group.
        num_tasks: tasks of the training split.
        task_types: their types.
    """

    def __init__(
        self,
        rollout: Rollout,
        journal: Journal | None,
        *,
        source: Callable[[TaskRequest], list[GroupSpec]],
        plan: Callable[[PlanRequest], Awaitable[Collection]],
        outcome: Callable[[Trajectory], float],
        seed: int,
        tasks: int,
        repeats: int,
        num_tasks: int,
        task_types: TaskTypes,
    ) -> None:
        self.rollout = rollout
        self.journal = journal
        self._source, self._plan, self._outcome = source, plan, outcome
        self._seed, self._tasks, self._repeats, self._num_tasks = seed, tasks, repeats, num_tasks
        self._task_types = task_types

    def collect(self, step: int) -> Collection:
        """Play the episodes of a step, counted from 0."""
        known: dict[Key, Trajectory] = {} if self.journal is None else self.journal.open(step + 1)

        def draw(round: int) -> list[GroupSpec]:
            request = TaskRequest(
                seed=self._seed, step=step, round=round, tasks=self._tasks, num_tasks=self._num_tasks, task_type=self._task_types
            )
            return self._source(request)

        async def play(specs: Sequence[EpisodeSpec]) -> list[Trajectory]:
            return await self._play(specs, known, step)

        def rng(group: int) -> np.random.Generator:
            return stream(self._seed, Stream.BRANCHES, step, group)

        async def point(trajectory: Trajectory, index: int) -> EpisodePoint:
            own = index - trajectory.branch_step
            if trajectory.points:
                return trajectory.points[own]
            return await self.rollout.replay(trajectory, path_of(trajectory, known.values())[:index])

        request = PlanRequest(repeats=self._repeats, draw=draw, play=play, outcome=self._outcome, point=point, rng=rng)

        async def run() -> Collection:
            return await self._plan(request)

        try:
            return run_sync(run())
        finally:
            if self.journal is not None:
                self.journal.close()

    def close(self) -> None:
        """Close the environments."""
        self.rollout.close()
        self._task_types.close()

    async def _play(self, specs: Sequence[EpisodeSpec], known: dict[Key, Trajectory], step: int) -> list[Trajectory]:
        missing = [spec for spec in specs if not self._is_known(spec, known)]
        async for _, trajectory in self.rollout.stream(missing):
            record(known, trajectory)
            trajectory.info |= {"phase": "rl", "step": step + 1}
            if self.journal is not None:
                self.journal.append(trajectory)
        return [known[spec.group, spec.repeat] for spec in specs]

    @staticmethod
    def _is_known(spec: EpisodeSpec, known: dict[Key, Trajectory]) -> bool:
        found = known.get((spec.group, spec.repeat))
        return found is not None and is_recording_of(found, spec)
