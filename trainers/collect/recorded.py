"""The collector of a replay: hands a rollout plan the recorded trajectories that it asks for, without an environment or a generator.

Rules:
    - The plan runs as in the recorded step, so that what it chooses, discards and reports is the same again.
    - An episode that the file lacks counts as failed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import numpy as np

from empg_gym.agent_env import EpisodePoint
from empg_gym.errors import DataError
from empg_gym.rng import Stream, stream
from empg_gym.rollout import EpisodeSpec, run_sync
from empg_gym.trainers.collect.journal import Key, is_recording_of, key_of, record
from empg_gym.trainers.collect.plans import Collection, PlanRequest
from empg_gym.trainers.collect.tasks import GroupSpec
from empg_gym.trajectory import StopReason, Trajectory, path_of


class RecordedCollector:
    """Collects the episodes of a step from its trajectories.

    Args:
        trajectories: of one step.
        plan: the rollout plan, with its options filled in.
        outcome: of a trajectory, before shaping and penalties.
        seed: of the run.
        tasks: groups per step.
        repeats: episodes per group.
    """

    def __init__(
        self,
        trajectories: Sequence[Trajectory],
        *,
        plan: Callable[[PlanRequest], Awaitable[Collection]],
        outcome: Callable[[Trajectory], float],
        seed: int,
        tasks: int,
        repeats: int,
    ) -> None:
        self._known: dict[Key, Trajectory] = {}
        for item in trajectories:
            record(self._known, item)
        self._plan, self._outcome = plan, outcome
        self._seed, self._tasks, self._repeats = seed, tasks, repeats
        self.missing = 0
        """Episodes that the plan asked for and the file lacks."""

    def collect(self, step: int) -> Collection:
        """Return the episodes of the recorded step, counted from 0.

        Raises:
            DataError: the plan does not play one of the recorded episodes.
        """
        asked: set[Key] = set()

        def draw(round: int) -> list[GroupSpec]:
            groups = range(round * self._tasks, (round + 1) * self._tasks)
            return [GroupSpec(group=group, task=0, seed=0) for group in groups]

        async def play(specs: Sequence[EpisodeSpec]) -> list[Trajectory]:
            return [self._recorded(spec, asked) for spec in specs]

        async def point(trajectory: Trajectory, index: int) -> EpisodePoint:
            path = path_of(trajectory, self._known.values())[:index]
            record = dataclasses.replace(trajectory, steps=path[trajectory.branch_step :], points=[])
            # Nothing is played from it: a recorded point has no state of the environment.
            return EpisodePoint(cast(Any, None), record, tuple(path[: trajectory.branch_step]), "")

        def rng(group: int) -> np.random.Generator:
            return stream(self._seed, Stream.BRANCHES, step, group)

        request = PlanRequest(repeats=self._repeats, draw=draw, play=play, outcome=self._outcome, point=point, rng=rng)

        async def run() -> Collection:
            return await self._plan(request)

        collection = run_sync(run())
        for group, repeat in sorted(self._known.keys() - asked):
            raise DataError(
                f"the rollout plan does not play the recorded episode {repeat} of group {group}; use the configuration of the run that "
                f"recorded it (rl.tasks_per_step is {self._tasks}, rl.repeats is {self._repeats}; see also algorithm.plan and run.seed)"
            )
        return collection

    def _recorded(self, spec: EpisodeSpec, asked: set[Key]) -> Trajectory:
        found = self._known.get((spec.group, spec.repeat))
        if found is not None and is_recording_of(found, spec):
            asked.add(key_of(found))
            return found
        self.missing += 1
        return Trajectory(
            env_id="",
            env_version="",
            data_fingerprint="",
            split="",
            task="",
            instruction="",
            group=spec.group,
            repeat=spec.repeat,
            stop_reason=StopReason.ERROR,
            error="the episode is not in the file",
        )
