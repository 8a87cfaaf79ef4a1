"""`empg-gym train --replay FILE`: the update of a recorded batch, without episodes and without a generator.

Rules:
    - FILE is a journal file of a run (`rollouts/`, kept with `run.keep_rollouts`) or a batch from `nonfinite/`: the episodes of one step.
    - The model is the checkpoint of the run folder before the recorded step, else the folder's latest checkpoint, else the
      configuration's model. On the checkpoint before the step the metrics are those of the run, except for `speed/`.
    - An advantage that needs gold answers gets them from an environment, which never steps; others need no environment.
    - Nothing is written; the updated weights are discarded.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from empg_gym.errors import ConfigError, DataError
from empg_gym.trainers.collect.journal import Key, record
from empg_gym.trainers.collect.recorded import RecordedCollector
from empg_gym.trainers.config.sections import TrainConfig
from empg_gym.trainers.data.batch import reward_of
from empg_gym.trainers.policy.gold import build_gold_scorer
from empg_gym.trainers.policy.optimizer import Optimizer
from empg_gym.trainers.run.bundle import PolicyBundle
from empg_gym.trainers.run.checkpoint import STATE, latest_checkpoint, load_state
from empg_gym.trainers.run.folder import CHECKPOINTS
from empg_gym.trainers.run.iteration import Iteration, num_updates
from empg_gym.trainers.run.memory import memory_errors
from empg_gym.trainers.run.stages import build_stages
from empg_gym.trajectory import StopReason, Trajectory, read_trajectories


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRewards:
    """The rewards of a group of episodes."""

    group: int
    task: str
    rewards: list[float]
    """Scaled and shaped, in the order of the episodes; failed episodes are left out."""
    trained: bool
    """Whether the group is in the batch: not discarded by the plan, a filter or failures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """The result of a replay."""

    file: str
    step: int
    """Reinforcement step of the batch, from 1."""
    model: str
    """Checkpoint or name of the model."""
    is_before: bool
    """Whether the model is the checkpoint before the step, so that the metrics are those of the run."""
    missing: int
    """Episodes that the rollout plan asks for and the file lacks; they count as failed."""
    metrics: dict[str, float]
    groups: list[GroupRewards]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object; a number that JSON lacks (inf, nan) is None."""
        return {
            "file": self.file,
            "step": self.step,
            "model": self.model,
            "is_before": self.is_before,
            "missing": self.missing,
            "metrics": {name: value if math.isfinite(value) else None for name, value in self.metrics.items()},
            "groups": [{name: getattr(group, name) for name in GroupRewards.__slots__} for group in self.groups],
        }


def render(result: Replay) -> RenderableType:
    """Return what the command line shows."""
    lines = [f"Step {result.step} from {result.file}, on {result.model}"]
    if not result.is_before:
        lines.append(f"This model is not the checkpoint before step {result.step}, so the metrics differ from those of the run.")
    if result.missing:
        lines.append(f"The file lacks {result.missing} episodes of the step; they count as failed.")
    metrics = Table("metric", "value")
    for name, value in sorted(result.metrics.items()):
        metrics.add_row(name, f"{value:.6g}")
    groups = Table("group", "task", "rewards", "trained on")
    for group in result.groups:
        rewards = " ".join(f"{reward:g}" for reward in group.rewards)
        groups.add_row(str(group.group), escape(group.task), rewards, "yes" if group.trained else "no")
    return Group(*map(Text, lines), metrics, groups)


def replay(config: TrainConfig, path: Path) -> Replay:
    """Run score, advantage and update on the trajectories of a file.

    Raises:
        DataError: the file is missing, empty, damaged, or not a batch of one training step of this model and configuration.
        ConfigError: the configuration can't be used, or its model is made from scratch and the run folder has no checkpoint.
        TrainingError: the run raised it on this batch.
    """
    trajectories = read_batch(path)
    step = int(trajectories[0].info["step"])
    stages = build_stages(config)
    checkpoint = _checkpoint(config, step)
    with memory_errors(), contextlib.ExitStack() as held:
        models = PolicyBundle(config, checkpoint)
        _check_vocabulary(path, trajectories, next(models.model.get_input_embeddings().parameters()).shape[0])
        state = None if checkpoint is None else load_state(checkpoint)
        optimizer = Optimizer(models.policy, config.rl.optimizer, num_updates(config))
        if state is not None and state.phase == "rl" and state.optimizer is not None:
            optimizer.load_state_dict(state.optimizer)
        reference = None
        if config.rl.kl_coef:
            begin = Path(config.run.out) / CHECKPOINTS / "rl-000000"
            reference = models.reference(begin if (begin / STATE).is_file() else checkpoint or str(config.model.name))
        gold = build_gold_scorer(config, models.policy, models.tokenizer)
        if gold is not None:
            held.callback(gold.close)
        iteration = Iteration(config, stages, optimizer, reference=reference, gold=gold)
        collector = RecordedCollector(
            trajectories,
            plan=stages.plan,
            outcome=stages.reward,
            seed=config.run.seed,
            tasks=config.rl.tasks_per_step,
            repeats=config.rl.repeats,
        )
        try:
            collection, metrics = iteration.run(step - 1, collector)
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
        batch = iteration.batch(collection)
    trained = {item.group for item in batch.trajectories}
    return Replay(
        file=str(path),
        step=step,
        model=str(config.model.name) if checkpoint is None else str(checkpoint),
        is_before=state is not None and (state.phase, state.step) == ("rl", step - 1),
        missing=collector.missing,
        metrics={name: value for name, value in metrics.items() if not name.startswith("speed/")},
        groups=[
            GroupRewards(
                group=group,
                task=items[0].task,
                rewards=[reward_of(item, items, stages.reward, stages.shapers, config.rl.reward_scale) for item in items],
                trained=group in trained,
            )
            for group, items in _by_group(trajectories)
        ],
    )


def read_batch(path: Path) -> list[Trajectory]:
    """Read the trajectories of one training step; of an episode that the file holds twice, the last one.

    Raises:
        DataError: the file is missing, empty, damaged, or holds something else.
    """
    found: dict[Key, Trajectory] = {}
    for item in _read(path):
        record(found, item)
    trajectories = [found[key] for key in sorted(found)]
    if not trajectories:
        raise DataError(f"{path} holds no trajectory; expected a batch of a training run, such as rollouts/step-000001.jsonl")
    for item in trajectories:
        if item.stop_reason is StopReason.ERROR:
            continue
        for index, step in enumerate(item.steps):
            ids = step.response_token_ids
            if ids is None or step.prompt_token_ids is None:
                raise DataError(
                    f"{path}: step {index} of task {item.task!r} has no token ids; only episodes of a language model that this package ran "
                    "can be trained on"
                )
            if any(values is not None and len(values) != len(ids) for values in (step.logprobs, step.entropies)):
                raise DataError(f"{path}: step {index} of task {item.task!r} is damaged: it has not one log-probability per token")
    return trajectories


def _read(path: Path) -> Iterable[Trajectory]:
    steps: set[int] = set()
    for item in read_trajectories(path):
        step = item.info.get("step")
        if item.info.get("phase") != "rl" or not isinstance(step, int) or step < 1 or item.info.get("kind") == "evaluation":
            raise DataError(
                f"{path} is not a training batch: the episode of task {item.task!r} belongs to no training step, like those of an "
                "evaluation; expected a file of rollouts/ or nonfinite/ in a run folder"
            )
        steps.add(step)
        if len(steps) > 1:
            raise DataError(f"{path} holds episodes of the steps {', '.join(map(str, sorted(steps)))}; expected those of one training step")
        yield item


def _checkpoint(config: TrainConfig, step: int) -> Path | None:
    folder = Path(config.run.out) / CHECKPOINTS
    before = folder / f"rl-{step - 1:06d}"
    checkpoint = before if (before / STATE).is_file() else latest_checkpoint(folder)
    if checkpoint is None and config.model.name is None:
        raise ConfigError(
            f"a batch of a model from scratch is replayed on a checkpoint, which has the tokenizer, and {config.run.out} has none; "
            "name the folder of the run with --out"
        )
    return checkpoint


def _check_vocabulary(path: Path, trajectories: Sequence[Trajectory], size: int) -> None:
    for item in trajectories:
        for step in item.steps:
            for ids in (step.prompt_token_ids, step.response_token_ids):
                if ids is not None and len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < size:
                    raise DataError(
                        f"{path}: task {item.task!r} has the token id {int(ids.max() if ids.min() >= 0 else ids.min())}, and the model's "
                        f"vocabulary has {size} tokens; replay the batch with the model that played it"
                    )


def _by_group(trajectories: Sequence[Trajectory]) -> Iterable[tuple[int, list[Trajectory]]]:
    usable = [item for item in trajectories if item.stop_reason is not StopReason.ERROR]
    for group, items in groupby(usable, key=lambda item: item.group):
        yield group, list(items)
