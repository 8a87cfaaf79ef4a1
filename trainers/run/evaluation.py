"""Evaluation during training: fixed tasks, fixed seeds, one number a split and a table of task types."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from empg_gym.agents import AgentLike
from empg_gym.rollout import Limits, Rollout
from empg_gym.scoring.intervals import wilson
from empg_gym.trainers.collect.environments import evaluation_environments, evaluation_specs
from empg_gym.trainers.config.sections import TrainConfig
from empg_gym.trainers.data.batch import require_episodes
from empg_gym.trajectory import StopReason, Trajectory


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationResult:
    """What a policy reached on a split."""

    split: str
    tasks: int
    """Episodes, failed ones included (they count as no success)."""
    success: float
    """Share of episodes."""
    success_low: float
    """Lower end of the 95 % Wilson interval of the share."""
    success_high: float
    score: float
    """Mean score, 0..1."""
    valid_action: float
    """Share of steps whose action could be carried out."""
    turns: float
    """Steps of an episode, mean."""
    failed_episodes: int
    by_type: dict[str, dict[str, float]] = field(default_factory=dict)
    """Task type to {"tasks", "success"}."""

    def to_json(self) -> dict[str, Any]:
        """Return a dictionary that JSON can hold."""
        return asdict(self)


def summarise(split: str, trajectories: Sequence[Trajectory]) -> EvaluationResult:
    """Summarise the episodes of an evaluation."""
    types: dict[str, list[bool]] = defaultdict(list)
    for trajectory in trajectories:
        types[trajectory.task_type].append(trajectory.success)
    steps = [step for trajectory in trajectories for step in trajectory.steps]
    won = sum(trajectory.success for trajectory in trajectories)
    low, high = wilson(won / len(trajectories), len(trajectories))
    return EvaluationResult(
        split=split,
        tasks=len(trajectories),
        success=won / len(trajectories),
        success_low=low,
        success_high=high,
        score=float(np.mean([trajectory.score for trajectory in trajectories])),
        valid_action=float(np.mean([step.valid_action for step in steps])) if steps else 0.0,
        turns=len(steps) / len(trajectories),
        failed_episodes=sum(trajectory.stop_reason is StopReason.ERROR for trajectory in trajectories),
        by_type={name: {"tasks": len(wins), "success": float(np.mean(wins))} for name, wins in sorted(types.items()) if name},
    )


class Evaluator:
    """Plays the fixed tasks of every evaluation split.

    Args:
        config: the whole configuration; `env`, `rollout` and `eval` are read here.
        agent: the policy's generator at the evaluation's temperature.

    Attributes:
        missing: splits that are left out because the data does not have them, with the reason.

    Raises:
        MissingSplitError: the data has none of the splits.
    """

    def __init__(self, config: TrainConfig, agent: AgentLike) -> None:
        self.config = config
        found, self.missing = evaluation_environments(config)
        settings = config.rollout
        limits = Limits(max_row_tokens=settings.max_row_tokens)
        self._rollouts = {
            split: (Rollout(recipe, agent, limits=limits, concurrency=settings.concurrency, retries=settings.retries), num_tasks)
            for split, (recipe, num_tasks) in found.items()
        }

    def run(self, tasks: int) -> tuple[list[EvaluationResult], list[Trajectory]]:
        """Evaluate on the first `tasks` of each split's fixed list; returns a result a split and all episodes.

        Raises:
            TrainingError: all episodes of a split failed.
        """
        results, episodes = [], []
        for split, (rollout, num_tasks) in self._rollouts.items():
            trajectories = rollout.run(evaluation_specs(self.config.eval.seed, tasks, num_tasks))
            require_episodes(trajectories, f"the evaluation on {split}")
            results.append(summarise(split, trajectories))
            episodes += trajectories
        return results, episodes

    def close(self) -> None:
        """Close the environments."""
        for rollout, _ in self._rollouts.values():
            rollout.close()
