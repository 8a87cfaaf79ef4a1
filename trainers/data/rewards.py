"""What trajectories are rewarded for: outcomes, filters and reward shapers, by name.

Order of a training step:
    1. the outcome of each trajectory (`rl.reward`);
    2. filters drop groups by their outcomes, so that what is dropped enters no later statistic (DAPO's order);
    3. the reward is `rl.reward_scale` times the outcome, plus what the shapers add;
    4. the penalty of a step (an invalid action) stays with the step: `RolloutSteps.penalties`.

An outcome and a shaper are functions `(Trajectory, *, options) -> float`; a filter is a function
`(Sequence[Trajectory], outcomes, *, options) -> Sequence[bool]`, True for what is kept.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence, Sized

from empg_gym.errors import ConfigError
from empg_gym.trainers.registry import Registry, number
from empg_gym.trajectory import Trajectory


def _one_per_trajectory(kept: object, trajectories: Sequence[Trajectory], outcomes: Sequence[float]) -> str | None:
    expected = f"one truth value per trajectory ({len(trajectories)})"
    if not isinstance(kept, Sized):
        return f"{expected}, not {type(kept).__name__}"
    return None if len(kept) == len(trajectories) else f"{expected}, not {len(kept)} values"


Outcome = Callable[[Trajectory], float]
OUTCOMES: Registry[Outcome] = Registry("reward", number)
Shaper = Callable[..., float]
SHAPERS: Registry[Shaper] = Registry("reward shaper", number)
Filter = Callable[..., Sequence[bool]]
FILTERS: Registry[Filter] = Registry("filter", _one_per_trajectory)


@OUTCOMES.register("success")
def success(trajectory: Trajectory) -> float:
    """Return 1 for a solved task, otherwise 0."""
    return float(trajectory.success)


@OUTCOMES.register("score")
def score(trajectory: Trajectory) -> float:
    """Return the benchmark's score, 0..1."""
    return trajectory.score


@OUTCOMES.register("return")
def total_reward(trajectory: Trajectory) -> float:
    """Return the sum of the environment's rewards."""
    return trajectory.total_reward


@FILTERS.register("informative")
def informative(trajectories: Sequence[Trajectory], outcomes: Sequence[float]) -> list[bool]:
    """Keep the groups whose outcomes differ: all others have advantage 0 under every group-relative method."""
    found: dict[int, set[float]] = defaultdict(set)
    for trajectory, outcome in zip(trajectories, outcomes, strict=True):
        found[trajectory.group].add(outcome)
    return [len(found[trajectory.group]) > 1 for trajectory in trajectories]


@SHAPERS.register("overlong")
def overlong(trajectory: Trajectory, *, max_tokens: int, buffer: int, penalty: float = 1.0) -> float:
    """Return DAPO's penalty of overlong episodes: 0 up to `max_tokens - buffer` generated tokens, falling linearly to `-penalty`.

    Args:
        trajectory: the episode.
        max_tokens: generated tokens at which the whole penalty applies.
        buffer: tokens over which it grows.
        penalty: largest deduction, in units of the scaled reward.

    Raises:
        ConfigError: `buffer` is outside 1..max_tokens, or `penalty` is negative.
    """
    if not 1 <= buffer <= max_tokens or penalty < 0:
        raise ConfigError(f"overlong expects 1 <= buffer <= max_tokens and penalty >= 0, not {buffer}, {max_tokens} and {penalty}")
    excess = trajectory.num_tokens - (max_tokens - buffer)
    return -penalty * min(max(excess / buffer, 0.0), 1.0)
