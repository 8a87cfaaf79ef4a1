"""Plays recorded actions again, to reach a point of an episode of which no snapshot was kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from empg_gym.agent_env import EpisodePoint, LLMAgentEnv
from empg_gym.errors import EnvironmentFailure
from empg_gym.trajectory import Step, Trajectory


def replay(env: LLMAgentEnv, trajectory: Trajectory, path: Sequence[Step]) -> EpisodePoint:
    """Return the point of an episode after the steps `path`.

    Args:
        env: an environment of the same recipe; its current episode is lost.
        trajectory: the recorded episode; `path` ends before one of its own steps.
        path: steps from the start of the episode.

    Raises:
        EnvironmentFailure: the environment reaches another state than the recorded one, so the episode cannot be continued.
    """
    inner = env.env
    _, info = inner.reset(seed=trajectory.seed, options={"task": trajectory.task})
    for step in path:
        _, _, _, _, info = inner.step(step.action)
    own = len(path) - trajectory.branch_step
    following = trajectory.steps[own]
    if following.state_key and env.text_env.state_key() != following.state_key:
        raise EnvironmentFailure(
            f"task {trajectory.task!r} reaches another state when its first {len(path)} actions are carried out again, "
            "so no episode can be branched there; delete the journal of the step to play it again"
        )
    record = dataclasses.replace(
        trajectory,
        steps=list(trajectory.steps[:own]),
        total_reward=sum(step.reward for step in path),
        success=bool(info["success"]),
        score=float(info["score"]),
        stop_reason=None,
        info={},
        points=[],
    )
    return EpisodePoint(env.text_env.snapshot(), record, tuple(path[: trajectory.branch_step]), following.observation)
