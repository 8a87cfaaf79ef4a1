"""The gap between the log-probabilities of rollout and training: how far the generator's are from the policy's, for equal weights.

Rules:
    - The gap is measured in every step, before the first update from its batch. Where the scorer returned the policy's log-probabilities,
      it covers all tokens; where it returned the generator's own, it covers the tokens of `SAMPLE_ROWS` rows, which the policy scores here.
    - The noise floor is what the policy differs from itself: the same rows, scored in one micro-batch and one by one. A gap, a KL
      divergence or a share of clipped tokens that is not above the floor is rounding.
    - Truncated importance sampling multiplies the policy loss of a token by min(pi_train / pi_rollout, cap), without gradient (Ionides,
      "Truncated Importance Sampling", 2008; Yao et al., "Your Efficient RL Framework Secretly Brings You Off-Policy RL Training", 2025).

Metrics:
    rollout/logprob_gap_mean      mean of |log pi_train - log pi_rollout| over the compared tokens, in nats
    rollout/logprob_gap_max       its maximum
    rollout/logprob_gap_kl        KL(pi_rollout || pi_train): k3 over tokens that the generator drew
    rollout/logprob_gap_tokens    number of compared tokens
    rollout/noise_floor_mean      the same three between two batchings of the policy
    rollout/noise_floor_max
    rollout/noise_floor_kl
    rollout/tis_weight_mean       mean weight of truncated importance sampling (absent without it)
    rollout/tis_truncated_share   share of tokens whose weight was truncated
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from empg_gym.trainers.data.batch import RolloutBatch
    from empg_gym.trainers.policy.policy import Policy

SAMPLE_ROWS = 4
"""Rows of a batch that are scored in two batchings."""


def k3(logprobs: Tensor, other: Tensor) -> Tensor:
    """Return [n] the k3 estimate of the KL divergence to `other` at tokens drawn from the policy of `logprobs`.

    It is exp(d) - d - 1 with d = other - logprobs, clamped to +-10.
    """
    difference = (other - logprobs).clamp(-10, 10)
    return torch.exp(difference) - difference - 1


def gap_metrics(policy: Policy, batch: RolloutBatch, old_logprobs: Tensor) -> dict[str, float]:
    """Return the gap and the noise floor of a batch; nothing if no row has a generated token.

    Args:
        policy: with the weights that generated the batch.
        batch: the episodes.
        old_logprobs: [N] from the scorer of the step.
    """
    sample = _sample(batch)
    if not sample:
        return {}
    rows = [batch.rows[index] for index in sample]
    together = policy.score_rows(rows).logprobs
    alone = torch.cat([policy.score_rows([row]).logprobs for row in rows])
    given, trained = batch.rollout_logprobs, old_logprobs
    if torch.equal(given, trained):
        # The scorer returned the generator's own values, and comparing these with themselves would show no gap.
        given, trained = given[torch.isin(batch.row_of_token, torch.tensor(sample))], together
    known = given.isfinite()
    metrics = _distance("rollout/noise_floor", together, alone)
    if known.any():
        metrics |= _distance("rollout/logprob_gap", given[known], trained[known])
        metrics["rollout/logprob_gap_tokens"] = float(known.sum())
    return metrics


def importance_weights(batch: RolloutBatch, old_logprobs: Tensor, cap: float) -> tuple[Tensor, dict[str, float]]:
    """Return [N] weights of truncated importance sampling and their metrics; a token without a rollout log-probability has weight 1."""
    ratio = torch.exp((old_logprobs - batch.rollout_logprobs).nan_to_num(nan=0.0))
    weights = ratio.clamp_max(cap)
    truncated = float((ratio > cap).double().mean()) if len(ratio) else 0.0
    mean = float(weights.mean()) if len(ratio) else 1.0
    return weights, {"rollout/tis_weight_mean": mean, "rollout/tis_truncated_share": truncated}


def _sample(batch: RolloutBatch) -> list[int]:
    """Return the indices of some rows with generated tokens, spread evenly over the batch."""
    scored = batch.row_of_token.unique().tolist()
    count = min(SAMPLE_ROWS, len(scored))
    return [scored[place] for place in np.linspace(0, len(scored) - 1, count).astype(int).tolist()]


def _distance(name: str, logprobs: Tensor, other: Tensor) -> dict[str, float]:
    difference = (other - logprobs).abs()
    return {
        f"{name}_mean": float(difference.mean()),
        f"{name}_max": float(difference.max()),
        f"{name}_kl": float(k3(logprobs.double(), other.double()).mean()),
    }
