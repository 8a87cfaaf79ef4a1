"""Evaluation during training: the tasks, seeds and scores of `evaluate` with `episodes = eval.tasks` and `seed = eval.seed`.

Rules:
    - `empg_gym.rollout.plan` selects the episodes and `empg_gym.scoring` computes the numbers. Failed episodes are excluded from every
      rate; `errors` counts them. Where there are some, success and score over all episodes, errors as 0, are reported too.
    - If a split has fewer tasks than requested, all of them are run.
    - With task panels (`eval.panel`), the tasks and seeds are the panel's. Results of a whole panel name it; the evaluations in between may
      draw `eval.curve_tasks` of its tasks.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from empg_gym.agents import AgentLike
from empg_gym.recipe import EnvRecipe
from empg_gym.rollout import Limits, Rollout
from empg_gym.rollout.panels import PanelTasks
from empg_gym.rollout.plan import draw_indices, episode_specs
from empg_gym.runs.folder import OUTCOMES
from empg_gym.scoring.actions import count_actions
from empg_gym.scoring.estimates import Estimate, estimate_mean
from empg_gym.scoring.headline import Headline, headline_of, headlines_by
from empg_gym.scoring.record import record_of
from empg_gym.trainers.collect.environments import evaluation_environments
from empg_gym.trainers.config.sections import TrainConfig
from empg_gym.trainers.data.batch import require_episodes
from empg_gym.trajectory import StopReason, Trajectory

METRICS = ("success", "success_errors_as_0", "score", "score_errors_as_0", "valid_action", "steps", "errors")
"""Numbers of a result that are also metrics: `eval/<split>/<name>`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationResult:
    """The results of a policy on one split. Means, shares and intervals are over the scored episodes; None if there are none."""

    split: str
    tasks: int
    """Number of episodes, one per task, including failed ones."""
    errors: int = 0
    """Number of episodes that failed because of an error in the environment or the generator."""
    success: float | None
    """Share of successes."""
    success_low: float | None
    """Lower end of its 95 % interval."""
    success_high: float | None
    success_errors_as_0: float | None = None
    """Share of successes among all episodes, errors as failures; None where no episode failed."""
    score: float | None
    """Mean score, 0..1."""
    score_low: float | None = None
    """Lower end of its 95 % interval."""
    score_high: float | None = None
    score_errors_as_0: float | None = None
    """Mean score of all episodes, errors as 0; None where no episode failed."""
    valid_action: float | None
    """Share of steps with a valid action."""
    steps: float | None = None
    """Mean number of steps."""
    by_type: dict[str, dict[str, float | None]] = field(default_factory=dict)
    """{"tasks", "errors", "success"} of each task type, plus "success_errors_as_0" where there are errors."""
    panel: dict[str, str] | None = None
    """{"name", "fingerprint"} of the task panel, if all its tasks were run."""

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> EvaluationResult:
        """Return the result from the output of `to_json`; unknown names are ignored."""
        known = {item.name for item in fields(cls)}
        return cls(**{name: value for name, value in record.items() if name in known})

    def metrics(self) -> dict[str, float]:
        """Return the numbers for `metrics.jsonl`."""
        values = {name: getattr(self, name) for name in METRICS}
        return {f"eval/{self.split}/{name}": float(value) for name, value in values.items() if value is not None}


def result_of(split: str, trajectories: Sequence[Trajectory], panel: PanelTasks | None = None) -> EvaluationResult:
    """Return the results of a split's episodes, which are those of a panel if one is given."""
    records = [record_of(trajectory) for trajectory in trajectories]
    headline = headline_of(records)
    steps = estimate_mean(records, lambda record: float(record.steps))
    success, success_low, success_high = _flat(headline.success)
    score, score_low, score_high = _flat(headline.score)
    return EvaluationResult(
        split=split,
        tasks=headline.episodes,
        errors=headline.errors,
        success=success,
        success_low=success_low,
        success_high=success_high,
        success_errors_as_0=_flat(headline.success_of_all)[0] if headline.errors else None,
        score=score,
        score_low=score_low,
        score_high=score_high,
        score_errors_as_0=_flat(headline.score_of_all)[0] if headline.errors else None,
        valid_action=count_actions(records).valid_rate,
        steps=None if steps is None else steps.mean,
        by_type={name: _of_type(one) for name, one in headlines_by(records, lambda record: record.task_type).items()},
        panel=None if panel is None else panel.describe(),
    )


def _of_type(headline: Headline) -> dict[str, float | None]:
    of_all = {"success_errors_as_0": _flat(headline.success_of_all)[0]} if headline.errors else {}
    return {"tasks": headline.episodes, "errors": headline.errors, "success": _flat(headline.success)[0], **of_all}


def append_outcomes(folder: Path, trajectories: Sequence[Trajectory], split: str, phase: str, step: int) -> None:
    """Append one line to `outcomes.jsonl`: the scored tasks of a split with their types, success and score, to pair runs by task."""
    scored = [item for item in trajectories if item.stop_reason != StopReason.ERROR]
    line = {
        "phase": phase,
        "step": step,
        "split": split,
        "tasks": [item.task for item in scored],
        "types": [item.task_type for item in scored],
        "success": [int(item.success) for item in scored],
        "score": [round(item.score, 6) for item in scored],
    }
    with (folder / OUTCOMES).open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(line) + "\n")


def _flat(estimate: Estimate | None) -> tuple[float | None, float | None, float | None]:
    """Return (mean, low, high)."""
    return (None, None, None) if estimate is None else (estimate.mean, *(estimate.interval or (None, None)))


class Evaluator:
    """Evaluates a policy on every evaluation split.

    Args:
        config: the whole configuration; `env`, `rollout` and `eval` are used.
        agent: the policy's generator at the evaluation temperature.

    Attributes:
        missing: splits that the data lacks, with the reason; they are skipped.

    Raises:
        MissingSplitError: the data has none of the splits.
        DataError: the data is not that of a panel.
    """

    def __init__(self, config: TrainConfig, agent: AgentLike) -> None:
        self.config = config
        found, self.missing = evaluation_environments(config)
        settings = config.rollout
        limits = Limits(max_row_tokens=settings.max_row_tokens)

        def rollout(recipe: EnvRecipe) -> Rollout:
            return Rollout(
                recipe,
                agent,
                limits=limits,
                concurrency=settings.concurrency,
                retries=settings.retries,
                backend=settings.environments(),
            )

        self._tasks = found
        self._rollouts = {split: rollout(tasks.recipe) for split, tasks in found.items()}

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that are evaluated."""
        return tuple(self._tasks)

    def run(self, tasks: int | None = None) -> tuple[list[EvaluationResult], list[Trajectory]]:
        """Evaluate on drawn tasks of each split; return a result per split and all episodes.

        Args:
            tasks: number of tasks; None runs whole panels, or `eval.tasks` of each split.

        Raises:
            TrainingError: all episodes of a split failed.
        """
        results, episodes = [], []
        for split, wanted in self._tasks.items():
            ids, seed = wanted.tasks, wanted.seed
            number = tasks or (self.config.eval.tasks if wanted.panel is None else len(ids))
            drawn = [ids[index] for index in draw_indices(len(ids), number, seed)]
            trajectories = self._rollouts[split].run(list(episode_specs(drawn, seed=seed)))
            require_episodes(trajectories, f"the evaluation on {split}")
            results.append(result_of(split, trajectories, wanted.panel if len(drawn) == len(ids) else None))
            episodes += trajectories
        return results, episodes

    def close(self) -> None:
        """Close the environments."""
        for rollout in self._rollouts.values():
            rollout.close()
