"""What a rollout plan is given and what it returns."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from empg_gym.agent_env import EpisodePoint
from empg_gym.rollout import EpisodeSpec
from empg_gym.trainers.collect.tasks import GroupSpec
from empg_gym.trainers.data.batch import has_outcome
from empg_gym.trainers.registry import Registry
from empg_gym.trajectory import Trajectory


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest:
    """One training step, as a plan sees it."""

    repeats: int
    """Episodes per group (the budget of a group where the plan spreads it)."""
    draw: Callable[[int], list[GroupSpec]]
    """Draw the groups of a round, from 0; the same round gives the same groups."""
    play: Callable[[Sequence[EpisodeSpec]], Awaitable[list[Trajectory]]]
    """Play episodes and return their trajectories in the order of the specifications."""
    outcome: Callable[[Trajectory], float]
    """The outcome of an episode, before shaping and penalties (`rl.reward`)."""
    point: Callable[[Trajectory, int], Awaitable[EpisodePoint]]
    """Return the point before a step of an episode, counted from the start of the episode, to branch from."""
    rng: Callable[[int], np.random.Generator]
    """Return the random generator of a group, for the plan's own decisions."""

    def is_informative(self, trajectories: Sequence[Trajectory]) -> bool:
        """Whether a group's outcomes differ; failed episodes and those without a step are left out."""
        outcomes = {self.outcome(item) for item in trajectories if has_outcome(item)}
        return len(outcomes) > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """The episodes of a training step."""

    trajectories: list[Trajectory]
    """In a fixed order: by group, then by repeat."""
    metrics: dict[str, float] = field(default_factory=dict)
    """What the plan reports, named `collect/…`."""
    discarded: list[Trajectory] = field(default_factory=list)
    """Episodes that were played and are not trained on; they count in the cost."""


def _collection(result: object, request: PlanRequest) -> str | None:
    return None if isinstance(result, Collection) else f"a Collection, not {type(result).__name__}"


RolloutPlan = Callable[..., Awaitable[Collection]]
"""`async (PlanRequest, *, options) -> Collection`"""
PLANS: Registry[RolloutPlan] = Registry("rollout plan", _collection, asynchronous=True)
