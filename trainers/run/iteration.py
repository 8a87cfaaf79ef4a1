"""One reinforcement step, stage by stage: collect → batch → score → advantage → update. The trainer publishes the weights afterwards.

Rules:
    - Each stage is named in the configuration and replaceable by a function of your own; each gets its own section, not the whole.
    - Filters come before every statistic. Advantages come from the whole batch, once, from log-probabilities and entropies of the policy
      that wrote it.
    - What was computed for a step is recorded on it (`Step.diagnostics`): "advantage", "advantage_modulated", and "advantage_entropy", the
      entropy that the advantage was computed from. `Step.entropy` is the generator's.
    - A batch whose loss or gradient is not finite is written to `nonfinite/` and can be replayed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import torch

from empg_gym.errors import TrainingError
from empg_gym.trainers.algorithms import Advantages, get_advantage
from empg_gym.trainers.collect.collector import Collector
from empg_gym.trainers.collect.plans import Collection
from empg_gym.trainers.config.sections import AlgorithmConfig, RLConfig
from empg_gym.trainers.data.batch import RolloutBatch, make_batch, require_episodes
from empg_gym.trainers.data.rewards import FILTERS, OUTCOMES, SHAPERS
from empg_gym.trainers.policy.policy import Policy, TokenScores
from empg_gym.trainers.policy.update import NONFINITE, Updater
from empg_gym.trainers.run.probe import PROBE_BATCH, PROBE_TOKENS, probe
from empg_gym.trainers.run.step_metrics import advantage_metrics, collection_metrics, score_metrics
from empg_gym.trajectory import Trajectory, write_trajectories

UNSCORED = "rollout/unscored_tokens"
"""With `rl.old_logprobs = "rollout"`: tokens that came without values; one is enough for the trainer to score the batch itself."""


class Iteration:
    """The stages of a reinforcement step.

    Args:
        rl: rewards and the scorer.
        algorithm: names and options of the stages.
        updater: takes the policy's updates.
        dump: folder for batches that gave a non-finite loss or gradient; None writes none.

    Raises:
        ConfigError: an unknown stage, an option that it lacks, or a value that it can't use.
    """

    def __init__(self, rl: RLConfig, algorithm: AlgorithmConfig, updater: Updater, dump: Path | None = None) -> None:
        self.rl = rl
        self.updater = updater
        self.policy: Policy = updater.policy
        self.dump = dump
        self.state_key = algorithm.state_key
        self.outcome = OUTCOMES.find(rl.reward)
        self.filters = [FILTERS.bind(stage.name, stage.options) for stage in algorithm.filters]
        self.shapers = [SHAPERS.bind(stage.name, stage.options) for stage in algorithm.shapers]
        self.advantage = get_advantage(algorithm.advantage, algorithm.advantage_options)
        probe("algorithm.advantage_options", lambda: self.advantage(PROBE_BATCH).values)
        probe("algorithm.policy_loss_options", lambda: updater.policy_loss(PROBE_TOKENS).loss)
        probe("algorithm.shapers", lambda: torch.tensor([shape(_EPISODE) for shape in self.shapers]))

    def run(self, step: int, collector: Collector) -> tuple[Collection, dict[str, float]]:
        """Collect the episodes of step `step`, counted from 0, and update the policy from them.

        Raises:
            TrainingError: all episodes failed, or training has collapsed.
        """
        began = time.perf_counter()
        collection = collector.collect(step)
        seconds = time.perf_counter() - began
        return collection, collection_metrics(collection, self.outcome, seconds) | self.learn(step, collection.trajectories)

    def learn(self, step: int, trajectories: Sequence[Trajectory]) -> dict[str, float]:
        """Update the policy from the episodes of step `step`, counted from 0, and return the metrics.

        Raises:
            TrainingError: all episodes failed, an advantage or a reward is not finite, or the gradients stay not finite.
        """
        began = time.perf_counter()
        require_episodes(trajectories, f"reinforcement step {step + 1}")
        batch = self.batch(trajectories)
        metrics = {"train/failed_episodes": float(len(trajectories) - len(batch.trajectories))}
        if not batch.rows:
            return metrics
        old, unscored = self.score(batch)
        steps = batch.steps(old.entropies, state_key=self.state_key)
        advantages = self.advantage(steps)
        _check_finite(batch, advantages)
        _annotate(batch, old, advantages)
        metrics |= score_metrics(batch, old) | unscored | advantages.metrics | advantage_metrics(steps, advantages)
        metrics |= self.updater.update(step, batch, old, advantages)
        if metrics.get(NONFINITE) and self.dump is not None:
            self.dump.mkdir(parents=True, exist_ok=True)
            path = self.dump / f"step-{step + 1:06d}.jsonl"
            path.unlink(missing_ok=True)
            write_trajectories(path, batch.trajectories)
        seconds = time.perf_counter() - began
        return metrics | {"speed/update_s": seconds, "speed/update_tokens_per_s": sum(map(len, batch.rows)) / seconds}

    def batch(self, trajectories: Sequence[Trajectory]) -> RolloutBatch:
        """Filter the episodes and turn those that are left into a batch with rewards."""
        outcomes = [self.outcome(item) for item in trajectories]
        for keep in self.filters:
            kept = keep(trajectories, outcomes)
            trajectories = [item for item, wanted in zip(trajectories, kept, strict=True) if wanted]
            outcomes = [item for item, wanted in zip(outcomes, kept, strict=True) if wanted]
        return make_batch(
            trajectories,
            self.outcome,
            shapers=self.shapers,
            reward_scale=self.rl.reward_scale,
            invalid_action_penalty=self.rl.invalid_action_penalty,
        )

    def score(self, batch: RolloutBatch) -> tuple[TokenScores, dict[str, float]]:
        """Return log-probabilities and entropies of the generated tokens under the policy that wrote them."""
        if self.rl.old_logprobs == "recompute":
            return self.policy.score_rows(batch.rows), {}
        given = TokenScores(batch.rollout_logprobs, batch.rollout_entropies)
        unscored = int((~(given.logprobs.isfinite() & given.entropies.isfinite())).sum())
        return (self.policy.score_rows(batch.rows) if unscored else given), {UNSCORED: float(unscored)}


_EPISODE = Trajectory(env_id="", env_version="", data_fingerprint="", split="", task="", instruction="")


def _check_finite(batch: RolloutBatch, advantages: Advantages) -> None:
    wrong = (~advantages.values.isfinite()).nonzero()
    if len(wrong):
        index = int(wrong[0])
        trajectory = batch.trajectories[int(batch.trajectory_of_step[index])]
        raise TrainingError(
            f"the advantage of step {int(batch.step[index])} of task {trajectory.task!r} (group {trajectory.group}, repeat "
            f"{trajectory.repeat}) is {float(advantages.values[index])}; expected a finite number from algorithm.advantage"
        )


def _annotate(batch: RolloutBatch, old: TokenScores, advantages: Advantages) -> None:
    steps = (step for trajectory in batch.trajectories for step in trajectory.steps)
    entropies = batch.step_entropies(old.entropies).tolist()
    for step, base, value, entropy in zip(steps, advantages.base.tolist(), advantages.values.tolist(), entropies, strict=True):
        step.diagnostics |= {"advantage": base, "advantage_modulated": value}
        if entropy == entropy:
            step.diagnostics["advantage_entropy"] = entropy
