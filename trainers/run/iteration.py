"""One reinforcement step, stage by stage: collect → batch → score → advantage → update. The trainer publishes the weights afterwards.

Rules:
    - Each stage is named in the configuration and replaceable by a function of your own (`empg_gym.trainers.run.stages`).
    - Filters come before every statistic. Advantages come from the whole batch, once, from log-probabilities and entropies of the policy
      that wrote it.
    - What was computed for a step is recorded on it (`Step.diagnostics`): "advantage", "advantage_modulated", and "advantage_entropy", the
      entropy that the advantage was computed from. `Step.entropy` and `Step.entropies` are the generator's; where it reports none, they are
      the scorer's.
    - A batch whose entropies, advantages, loss or gradient are not finite is written to `nonfinite/` and can be replayed.
"""

from __future__ import annotations

import time
from pathlib import Path

import torch

from empg_gym.errors import TrainingError
from empg_gym.trainers.algorithms import Advantages, needs_of
from empg_gym.trainers.collect.collector import StepCollector
from empg_gym.trainers.collect.plans import Collection
from empg_gym.trainers.config.sections import TrainConfig
from empg_gym.trainers.data.batch import RolloutBatch, has_outcome, make_batch, require_episodes
from empg_gym.trainers.policy.gap import gap_metrics
from empg_gym.trainers.policy.gold import GoldScorer
from empg_gym.trainers.policy.optimizer import Optimizer
from empg_gym.trainers.policy.reference import Reference
from empg_gym.trainers.policy.scores import TokenScores
from empg_gym.trainers.policy.updaters import NONFINITE, UpdaterParts, build_updater
from empg_gym.trainers.run.stages import Stages
from empg_gym.trainers.run.step_metrics import advantage_metrics, collection_metrics, score_metrics
from empg_gym.trajectory import write_trajectories

NONFINITE_BATCHES = "nonfinite"
"""Folder of the batches whose entropies, advantages, loss or gradient were not finite."""


def num_updates(config: TrainConfig) -> int:
    """Return the number of updates of the whole phase, which the learning rate's schedule spans."""
    return config.rl.steps * config.rl.minibatches * config.rl.epochs


class Iteration:
    """The stages of a reinforcement step.

    Args:
        config: the configuration.
        stages: its stages.
        optimizer: of the policy.
        reference: the policy that the KL divergence is measured to; None where `rl.kl_coef` is 0.
        dump: folder for batches that gave something that is not finite; None writes none.
        gold: scores the gold answer before each step; None where the advantage doesn't need it.

    Raises:
        ConfigError: `rl.updater` does not build an updater.
    """

    def __init__(
        self,
        config: TrainConfig,
        stages: Stages,
        optimizer: Optimizer,
        *,
        reference: Reference | None = None,
        dump: Path | None = None,
        gold: GoldScorer | None = None,
    ) -> None:
        self.config = config
        self.stages = stages
        self.policy = optimizer.policy
        self.dump = dump
        self.gold = gold
        parts = UpdaterParts(
            optimizer=optimizer,
            policy_loss=stages.policy_loss,
            loss_needs=needs_of(stages.policy_loss.function),
            aggregation=stages.aggregation,
            rl=config.rl,
            seed=config.run.seed,
            row_budget=config.rollout.max_row_tokens,
            reference=reference,
        )
        self.updater = build_updater(config.rl.updater, stages.updater, parts)

    def run(self, step: int, collector: StepCollector) -> tuple[Collection, dict[str, float]]:
        """Collect the episodes of step `step`, counted from 0, and update the policy from them.

        Raises:
            TrainingError: all episodes failed, or training has collapsed.
        """
        began = time.perf_counter()
        collection = collector.collect(step)
        seconds = time.perf_counter() - began
        return collection, collection_metrics(collection, self.stages.reward, seconds) | self.learn(step, collection)

    def learn(self, step: int, collection: Collection) -> dict[str, float]:
        """Update the policy from the episodes of step `step`, counted from 0, and return the metrics.

        Raises:
            TrainingError: all episodes failed, an entropy, an advantage or a reward is not finite, or the gradients stay not finite.
        """
        began = time.perf_counter()
        played = [*collection.trajectories, *collection.discarded]
        require_episodes(played, f"reinforcement step {step + 1}")
        batch = self.batch(collection)
        metrics = {"train/failed_episodes": float(sum(not has_outcome(item) for item in played))}
        if not len(batch.step_of_token):
            return metrics
        try:
            metrics |= self._update(step, batch)
        except TrainingError as error:
            path = self._write(step, collection)
            if path is None:
                raise
            raise TrainingError(f"{error}; the batch is in {path}: empg-gym train CONFIG --replay FILE runs its update again") from error
        if metrics.get(NONFINITE):
            self._write(step, collection)
        seconds = time.perf_counter() - began
        return metrics | {"speed/update_s": seconds, "speed/update_tokens_per_s": sum(map(len, batch.rows)) / seconds}

    def batch(self, collection: Collection) -> RolloutBatch:
        """Turn the episodes that failures and filters leave into a batch with rewards."""
        return make_batch(
            collection.trajectories,
            self.stages.reward,
            filters=self.stages.filters,
            shapers=self.stages.shapers,
            reward_scale=self.config.rl.reward_scale,
            invalid_action_penalty=self.config.rl.invalid_action_penalty,
        )

    def score(self, batch: RolloutBatch) -> TokenScores:
        """Return log-probabilities and entropies of the generated tokens under the policy that wrote them.

        Raises:
            ConfigError: the scorer does not return one value of each per token.
        """
        scores: TokenScores = self.stages.scorer(self.policy, batch)
        return scores

    def _update(self, step: int, batch: RolloutBatch) -> dict[str, float]:
        old = self.score(batch)
        _check_entropies(batch, old)
        gold = None if self.gold is None else self.gold(batch)
        steps = batch.steps(old.entropies, state_key=self.config.algorithm.state_key, gold_logprobs=gold)
        advantages = self.stages.advantage(steps)
        check_finite(batch, advantages)
        _annotate(batch, old, advantages)
        metrics = (
            score_metrics(batch, old)
            | gap_metrics(self.policy, batch, old.logprobs)
            | old.metrics
            | advantages.metrics
            | advantage_metrics(steps, advantages)
        )
        return metrics | self.updater.update(step, batch, old, advantages)

    def _write(self, step: int, collection: Collection) -> Path | None:
        """Write all episodes of a step, so that a replay finds what its plan asks for."""
        if self.dump is None:
            return None
        self.dump.mkdir(parents=True, exist_ok=True)
        path = self.dump / f"step-{step + 1:06d}.jsonl"
        path.unlink(missing_ok=True)
        write_trajectories(path, [*collection.trajectories, *collection.discarded])
        return path


def _check_entropies(batch: RolloutBatch, old: TokenScores) -> None:
    """Refuse entropies that are not finite: the entropy of a step is NaN only if the step generated nothing."""
    wrong = (~old.entropies.isfinite()).nonzero()
    if len(wrong):
        index = int(wrong[0])
        raise TrainingError(
            f"the entropy of a token of {_name(batch, int(batch.step_of_token[index]))} is {float(old.entropies[index])}; "
            "expected a finite number from rl.old_logprobs"
        )


def _name(batch: RolloutBatch, index: int) -> str:
    """Return the name of a step, an index into S, for an error."""
    trajectory = batch.trajectories[int(batch.trajectory_of_step[index])]
    return f"step {int(batch.step[index])} of task {trajectory.task!r} (group {trajectory.group}, repeat {trajectory.repeat})"


def check_finite(batch: RolloutBatch, advantages: Advantages) -> None:
    """Check the advantages of a batch.

    Raises:
        TrainingError: one of them is not finite.
    """
    wrong = (~advantages.values.isfinite()).nonzero()
    if len(wrong):
        index = int(wrong[0])
        value = float(advantages.values[index])
        raise TrainingError(f"the advantage of {_name(batch, index)} is {value}; expected a finite number from algorithm.advantage")


def _annotate(batch: RolloutBatch, old: TokenScores, advantages: Advantages) -> None:
    steps = (step for trajectory in batch.trajectories for step in trajectory.steps)
    entropies = batch.step_entropies(old.entropies).tolist()
    tokens = old.entropies.float().split(torch.bincount(batch.step_of_token, minlength=len(entropies)).tolist())
    for trajectory, reward in zip(batch.trajectories, batch.rewards.tolist(), strict=True):
        trajectory.info["training_reward"] = reward
    for step, base, value, entropy, of_tokens in zip(
        steps, advantages.base.tolist(), advantages.values.tolist(), entropies, tokens, strict=True
    ):
        step.diagnostics |= {"advantage": base, "advantage_modulated": value}
        if entropy == entropy:
            step.diagnostics["advantage_entropy"] = entropy
            if step.entropies is None:
                step.entropies, step.entropy = of_tokens.numpy().copy(), entropy
