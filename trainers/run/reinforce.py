"""One reinforcement step: from the episodes of a rollout to new weights.

Rules:
    - Advantages come from the whole rollout batch, once, from log-probabilities and entropies of the policy that wrote it.
    - Mini-batches are cut by trajectories, in an order that is a function of (seed, step, epoch).
    - What was computed for a step goes back onto it (`Step.diagnostics`): "advantage", "advantage_modulated".

Metrics of the loss, over all updates of the step:
    loss/policy               mean of what the policy loss gave, without the KL term
    loss/kl                   mean of the KL term, `rl.kl_coef` times the aggregated k3; the loss is the sum of the two
    loss/kl_reference         mean k3 of a token to the reference, without a weight
    loss/kl_old               KL(old || new): k3 over tokens that the old policy drew
    loss/clip_share           share of tokens whose gradient was clipped away
    rollout/unscored_tokens   with `rl.old_logprobs = "rollout"`: tokens that came without values. One is enough for the trainer to score
                              the whole batch itself
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from empg_gym.errors import ConfigError, EMPGGymError
from empg_gym.trainers.algorithms import Advantages, PolicyLoss, PolicyTokens, RolloutSteps, get_advantage, get_policy_loss
from empg_gym.trainers.config.sections import TrainConfig
from empg_gym.trainers.data.aggregation import token_weights
from empg_gym.trainers.data.batch import RolloutBatch, make_batch, require_episodes, trajectory_rewards
from empg_gym.trainers.data.rows import MicroBatch, micro_batches
from empg_gym.trainers.policy.optimizer import Optimizer
from empg_gym.trainers.policy.policy import Policy, TokenScores
from empg_gym.trajectory import Trajectory

UNSCORED = "rollout/unscored_tokens"
TRIAL_STEPS = RolloutSteps(
    rewards=torch.tensor([1.0, 0.0], dtype=torch.float64),
    groups=torch.tensor([0, 0]),
    trajectory=torch.tensor([0, 0, 1]),
    step=torch.tensor([0, 1, 0]),
    entropies=torch.tensor([0.3, 0.9, 0.4], dtype=torch.float64),
    step_rewards=torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64),
)
"""A batch on which the options of an advantage are tried."""
TRIAL_TOKENS = PolicyTokens(
    logprobs=torch.tensor([-0.5, -1.5]),
    old_logprobs=torch.tensor([-1.0, -1.0]),
    advantages=torch.tensor([1.0, -1.0]),
    weights=torch.tensor([0.5, 0.5]),
    row=torch.tensor([0, 1]),
    entropies=torch.tensor([0.3, 0.9]),
)
"""The same for a policy loss."""


class Reinforcement:
    """Updates of a policy from its own episodes.

    Args:
        optimizer: of the policy.
        config: the whole configuration; `rl` and `algorithm` are read here.
        reference: the policy that KL divergence is measured to; None where `rl.kl_coef` is 0.

    Raises:
        ConfigError: an unknown advantage, policy loss, aggregation or reward, or an option that they don't take or whose value they
            can't use.
    """

    def __init__(self, optimizer: Optimizer, config: TrainConfig, reference: Policy | None = None) -> None:
        algorithm = config.algorithm
        self.optimizer = optimizer
        self.policy = optimizer.policy
        self.config = config
        self.reference = reference
        self.advantage = get_advantage(algorithm.advantage, algorithm.advantage_options)
        self.policy_loss = get_policy_loss(algorithm.policy_loss, algorithm.policy_loss_options)
        trajectory_rewards([], config.rl.reward)
        token_weights(torch.zeros(0), config.rl.aggregation)
        _try("advantage_options", lambda: self.advantage(TRIAL_STEPS).values)
        _try("policy_loss_options", lambda: self.policy_loss(TRIAL_TOKENS).loss)

    def step(self, step: int, trajectories: Sequence[Trajectory]) -> dict[str, float]:
        """Update the policy from the episodes of step `step`, counted from 0, and return its metrics.

        Raises:
            TrainingError: all episodes failed, or the gradients stay not finite.
        """
        began = time.perf_counter()
        rl = self.config.rl
        require_episodes(trajectories, f"reinforcement step {step + 1}")
        batch = make_batch(trajectories)
        metrics = {"train/failed_episodes": float(len(trajectories) - len(batch.trajectories))}
        if not batch.rows:
            return metrics
        old, unscored = self._old_scores(batch)
        rewards = trajectory_rewards(batch.trajectories, rl.reward, rl.reward_scale, rl.invalid_action_penalty)
        advantages = self.advantage(batch.steps(rewards, old.entropies))
        _annotate(batch, advantages)
        metrics |= _rollout_metrics(batch, old, rewards) | unscored | advantages.metrics
        metrics |= self._updates(step, batch, old, advantages)
        seconds = time.perf_counter() - began
        return metrics | {"speed/update_s": seconds, "speed/update_tokens_per_s": sum(map(len, batch.rows)) / seconds}

    def _old_scores(self, batch: RolloutBatch) -> tuple[TokenScores, dict[str, float]]:
        if self.config.rl.old_logprobs == "recompute":
            return self.policy.score_rows(batch.rows), {}
        given = TokenScores(batch.rollout_logprobs, batch.rollout_entropies)
        unscored = int((~(given.logprobs.isfinite() & given.entropies.isfinite())).sum())
        return (self.policy.score_rows(batch.rows) if unscored else given), {UNSCORED: float(unscored)}

    def _updates(self, step: int, batch: RolloutBatch, old: TokenScores, advantages: Advantages) -> dict[str, float]:
        rl, device = self.config.rl, self.policy.device
        advantage_n = advantages.values[batch.step_of_token].float()
        reference = None if self.reference is None else self.reference.score_rows(batch.rows).logprobs
        row_tokens = torch.bincount(batch.row_of_token, minlength=len(batch.rows))
        norms: list[float] = []
        tally = _Tally()
        for epoch in range(rl.epochs):
            for rows in _minibatches(batch, rl.minibatches, seed=(self.config.run.seed, 5, step, epoch)):
                inside = torch.isin(batch.row_of_token, torch.tensor(rows))
                weights = torch.zeros(len(batch.row_of_token))
                weights[inside] = token_weights(batch.row_of_token[inside], rl.aggregation, budget=self.config.rollout.max_row_tokens)

                def loss(micro: MicroBatch, scores: TokenScores, weights: Tensor = weights) -> Tensor:
                    tokens = PolicyTokens(
                        logprobs=scores.logprobs,
                        old_logprobs=old.logprobs[micro.flat].to(device),
                        advantages=advantage_n[micro.flat].to(device),
                        weights=weights[micro.flat].to(device),
                        row=micro.row.to(device),
                        entropies=scores.entropies,
                    )
                    result = self.policy_loss(tokens)
                    tally.add(tokens, result)
                    if reference is None:
                        return result.loss
                    kl = k3(scores.logprobs, reference[micro.flat].to(device))
                    term = rl.kl_coef * (kl * tokens.weights).sum()
                    tally.add_kl(kl.detach(), term.detach())
                    return result.loss + term

                chosen = [row for row in rows if row_tokens[row] > 0]
                _, norm = self.optimizer.update(micro_batches(batch.rows, rl.token_budget, chosen), loss)
                norms.append(norm)
        rate = self.optimizer.adamw.param_groups[0]["lr"]
        return tally.metrics(len(norms), reference is not None) | {"loss/grad_norm": float(np.mean(norms)), "train/lr": rate}


def k3(logprobs: Tensor, other: Tensor) -> Tensor:
    """Return [n] the k3 estimate of the KL divergence to `other` at tokens drawn from the policy of `logprobs`.

    It is exp(d) - d - 1 with d = other - logprobs, clamped to +-10.
    """
    difference = (other - logprobs).clamp(-10, 10)
    return torch.exp(difference) - difference - 1


def _try(section: str, call: Callable[[], Tensor]) -> None:
    """Find values of options that can't be used before the first step does."""
    try:
        finite = bool(call().isfinite().all())
    except EMPGGymError:
        raise
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        raise ConfigError(f"algorithm.{section}: a value can't be used ({error})") from error
    if not finite:
        raise ConfigError(f"algorithm.{section}: with these values results are not finite (inf or nan)")


class _Tally:
    """Sums over the generated tokens of all updates of a step."""

    def __init__(self) -> None:
        self.tokens = self.clipped = 0
        self.policy = self.kl = self.kl_old = self.kl_reference = 0.0

    def add(self, tokens: PolicyTokens, result: PolicyLoss) -> None:
        self.tokens += len(result.clipped)
        self.clipped += int(result.clipped.sum())
        self.policy += float(result.loss.detach())
        # The tokens are the old policy's, so it comes first: E_old[r - 1 - log r] with r = new / old.
        self.kl_old += float(k3(tokens.old_logprobs, tokens.logprobs.detach()).sum())

    def add_kl(self, kl: Tensor, term: Tensor) -> None:
        self.kl_reference += float(kl.sum())
        self.kl += float(term)

    def metrics(self, updates: int, with_reference: bool) -> dict[str, float]:
        count = max(self.tokens, 1)
        values = {"loss/policy": self.policy / updates, "loss/clip_share": self.clipped / count, "loss/kl_old": self.kl_old / count}
        return values | ({"loss/kl": self.kl / updates, "loss/kl_reference": self.kl_reference / count} if with_reference else {})


def _minibatches(batch: RolloutBatch, count: int, seed: tuple[int, ...]) -> list[list[int]]:
    """Return the rows of each mini-batch."""
    order = np.random.default_rng(seed).permutation(len(batch.trajectories)) if count > 1 else np.arange(len(batch.trajectories))
    parts = [set(part.tolist()) for part in np.array_split(order, count) if len(part)]
    return [[index for index, row in enumerate(batch.rows) if row.trajectory in part] for part in parts]


def _annotate(batch: RolloutBatch, advantages: Advantages) -> None:
    steps = (step for trajectory in batch.trajectories for step in trajectory.steps)
    for step, base, value in zip(steps, advantages.base.tolist(), advantages.values.tolist(), strict=True):
        step.diagnostics |= {"advantage": base, "advantage_modulated": value}


def _rollout_metrics(batch: RolloutBatch, old: TokenScores, rewards: Tensor) -> dict[str, float]:
    trajectories = batch.trajectories
    steps = [step for trajectory in trajectories for step in trajectory.steps]
    entropy_s = batch.step_entropies(old.entropies)
    entropy_s = entropy_s[entropy_s.isfinite()]
    quantiles: list[Any] = torch.quantile(entropy_s, torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)).tolist()
    groups = torch.tensor([trajectory.group for trajectory in trajectories])
    mixed = [bool((rewards[groups == group] != rewards[groups == group][0]).any()) for group in groups.unique()]
    metrics = {
        "train/success": float(np.mean([item.success for item in trajectories])),
        "train/score": float(np.mean([item.score for item in trajectories])),
        "train/reward": float(rewards.mean()),
        "train/valid_action": float(np.mean([step.valid_action for step in steps])),
        "train/malformed": float(np.mean([step.malformed for step in steps])),
        "train/turns": len(steps) / len(trajectories),
        "train/response_tokens": len(old.logprobs) / len(steps),
        "train/mixed_groups": float(np.mean(mixed)),
        "entropy/token_mean": float(old.entropies.mean()),
        "entropy/step_mean": float(entropy_s.mean()),
        "entropy/step_q10": quantiles[0],
        "entropy/step_q50": quantiles[1],
        "entropy/step_q90": quantiles[2],
    }
    given = batch.rollout_logprobs.isfinite()
    if given.any():
        difference = (batch.rollout_logprobs - old.logprobs)[given]
        metrics |= {"rollout/logprob_gap_mean": float(difference.abs().mean()), "rollout/logprob_gap_max": float(difference.abs().max())}
    return metrics
