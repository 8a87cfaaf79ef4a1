"""The metrics of a reinforcement step.

train/…        what the episodes of the step achieved, before filters
rollout/…      tokens, and the gap between the log-probabilities of rollout and training (`empg_gym.trainers.policy.gap`)
collect/…      what the rollout plan reports
entropy/…      of generated tokens and of steps, under the old policy, in nats
advantage/…    of the steps
loss/…         see `empg_gym.trainers.policy.update`
speed/…        seconds and rates
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import torch

from empg_gym.trainers.algorithms import Advantages, RolloutSteps
from empg_gym.trainers.algorithms.groups import GroupKind, group_kinds
from empg_gym.trainers.collect.plans import Collection
from empg_gym.trainers.data.batch import RolloutBatch, usable
from empg_gym.trainers.policy.scores import TokenScores
from empg_gym.trajectory import Trajectory

ROWS_PER_EPISODE = "rollout/rows_per_episode"
"""Mean number of token rows of an episode: 1 where each step appends to the row."""


def collection_metrics(collection: Collection, outcome: Callable[[Trajectory], float], seconds: float) -> dict[str, float]:
    """Return the results and the cost of a step's episodes, those that the plan discarded included.

    `speed/env_s` adds up over episodes, which share the rollout's time.
    """
    played = [*collection.trajectories, *collection.discarded]
    return collection.metrics | _results(usable(played), outcome) | _cost(played, seconds)


def _results(trajectories: Sequence[Trajectory], outcome: Callable[[Trajectory], float]) -> dict[str, float]:
    if not trajectories:
        return {}
    steps = [step for trajectory in trajectories for step in trajectory.steps]
    groups: dict[int, set[float]] = defaultdict(set)
    for trajectory in trajectories:
        groups[trajectory.group].add(outcome(trajectory))
    return {
        "train/success": float(np.mean([item.success for item in trajectories])),
        "train/score": float(np.mean([item.score for item in trajectories])),
        "train/valid_action": float(np.mean([step.valid_action for step in steps])),
        "train/malformed": float(np.mean([step.malformed for step in steps])),
        "train/steps": sum(item.branch_step + len(item.steps) for item in trajectories) / len(trajectories),
        "train/response_tokens": sum(item.num_tokens for item in trajectories) / len(steps),
        "train/mixed_groups": float(np.mean([len(outcomes) > 1 for outcomes in groups.values()])),
    }


def _cost(trajectories: Sequence[Trajectory], seconds: float) -> dict[str, float]:
    steps = [step for trajectory in trajectories for step in trajectory.steps]
    env_seconds = sum(step.env_seconds for step in steps)
    tokens = sum(len(ids) for step in steps for ids in (step.prompt_token_ids, step.response_token_ids) if ids is not None)
    return {
        "rollout/tokens": float(tokens),
        "rollout/generated_tokens": float(sum(trajectory.num_tokens for trajectory in trajectories)),
        ROWS_PER_EPISODE: float(np.mean([len({step.row for step in item.steps}) for item in trajectories if item.steps] or [0])),
        "speed/rollout_s": seconds,
        "speed/rollout_tokens_per_s": tokens / seconds,
        "speed/env_s": env_seconds,
        "speed/env_steps_per_s": len(steps) / env_seconds if env_seconds else 0.0,
    }


def score_metrics(batch: RolloutBatch, old: TokenScores) -> dict[str, float]:
    """Return the entropies of the batch and its mean reward."""
    entropy_s = batch.step_entropies(old.entropies)
    entropy_s = entropy_s[entropy_s.isfinite()]
    quantiles = torch.quantile(entropy_s, torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)).tolist()
    return {
        "train/reward": float(batch.rewards.mean()),
        "entropy/token_mean": float(old.entropies.mean()),
        "entropy/step_mean": float(entropy_s.mean()),
        "entropy/step_q10": quantiles[0],
        "entropy/step_q50": quantiles[1],
        "entropy/step_q90": quantiles[2],
    }


def advantage_metrics(steps: RolloutSteps, advantages: Advantages) -> dict[str, float]:
    """Return the spread of the advantages, and their mean and share of steps by kind of group.

    In a group whose episodes all have the same reward the base advantage is 0; what a modulation adds there is not a signal of the task.
    """
    metrics = {"advantage/mean": float(advantages.values.mean()), "advantage/std": float(advantages.values.std(unbiased=False))}
    kinds = group_kinds(steps)[steps.trajectory]
    for kind in GroupKind:
        chosen = kinds == kind
        if chosen.any():
            name = f"advantage/{kind.name.lower()}_groups"
            metrics |= {name: float(advantages.values[chosen].mean()), f"{name}_share": float(chosen.double().mean())}
    return metrics
