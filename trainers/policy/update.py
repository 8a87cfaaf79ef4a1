"""The updates of a training step: mini-batches of whole trajectories, the policy loss, the KL term and the entropy bonus.

    loss = policy loss + kl_coef * sum w k3(pi || reference) - entropy_coef * sum w H(pi)            w: aggregation weights

With `rl.rollout_correction` the weights of the policy loss are multiplied by those of `empg_gym.trainers.policy.gap`.

Rules:
    - Mini-batches are cut by trajectories, in an order that is a function of (seed, step, epoch).
    - Entropies are computed only for a policy loss that declares them (`register_policy_loss(…, needs=…)`), and differentiated only for the
      entropy bonus.

Metrics, over all updates of the step:
    loss/policy               mean of the policy loss, without the other terms
    loss/kl                   mean of the KL term
    loss/entropy              mean of the entropy term (0 or below)
    loss/kl_reference         mean k3 of a token to the reference, without a weight
    loss/kl_old               KL(old || new): k3 over tokens that the old policy drew
    loss/clip_share           share of tokens whose gradient was clipped away
    loss/grad_norm            mean norm of the gradient before it was clipped
    loss/nonfinite_updates    updates that were discarded because their gradient was not finite (absent without any)
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from empg_gym.rng import Stream, stream
from empg_gym.trainers.algorithms import Advantages, PolicyLoss, PolicyTokens
from empg_gym.trainers.data.aggregation import token_weights
from empg_gym.trainers.data.batch import RolloutBatch
from empg_gym.trainers.data.rows import MicroBatch
from empg_gym.trainers.policy.gap import importance_weights, k3
from empg_gym.trainers.policy.head import Entropy
from empg_gym.trainers.policy.scores import TokenScores
from empg_gym.trainers.policy.updaters import NONFINITE, UpdaterParts


class MinibatchUpdater:
    """Takes the updates of a training step.

    Args:
        parts: optimizer, loss, aggregation and settings.
    """

    def __init__(self, parts: UpdaterParts) -> None:
        self.parts = parts
        self.rl = parts.rl
        self.entropy: Entropy = "values" if "entropies" in parts.loss_needs else "none"
        if self.rl.entropy_coef > 0:
            self.entropy = "gradient"

    def update(self, step: int, batch: RolloutBatch, old: TokenScores, advantages: Advantages) -> dict[str, float]:
        """Update the policy from the batch of step `step`, counted from 0, and return the metrics.

        Raises:
            TrainingError: the gradients stay not finite.
        """
        reference = None if self.parts.reference is None else self.parts.reference.score_rows(batch.rows).logprobs
        correction: Tensor | None = None
        corrected: dict[str, float] = {}
        if self.rl.rollout_correction == "tis":
            correction, corrected = importance_weights(batch, old.logprobs, self.rl.rollout_correction_cap)
        row_tokens = torch.bincount(batch.row_of_token, minlength=len(batch.rows))
        tally = _Tally()
        norms: list[float] = []
        for epoch in range(self.rl.epochs):
            for rows in self._minibatches(batch, step, epoch):
                loss = _MiniBatchLoss(self.parts, batch, rows, old, advantages, reference, tally, correction)
                chosen = [row for row in rows if row_tokens[row] > 0]
                batches = self.parts.optimizer.policy.micro_batches(batch.rows, self.rl.token_budget, chosen)
                _, norm = self.parts.optimizer.update(batches, loss, entropy=self.entropy)
                norms.append(norm)
        finite = [norm for norm in norms if math.isfinite(norm)]
        metrics = tally.metrics(len(norms), with_reference=reference is not None, with_entropy=self.rl.entropy_coef > 0)
        metrics |= corrected | {"loss/grad_norm": float(np.mean(norms)), "train/lr": self.parts.optimizer.lr}
        return metrics | ({NONFINITE: float(len(norms) - len(finite))} if len(finite) < len(norms) else {})

    def _minibatches(self, batch: RolloutBatch, step: int, epoch: int) -> list[list[int]]:
        """Return the rows of each mini-batch."""
        count, number = self.rl.minibatches, len(batch.trajectories)
        order = stream(self.parts.seed, Stream.MINIBATCHES, step, epoch).permutation(number) if count > 1 else np.arange(number)
        parts = [set(part.tolist()) for part in np.array_split(order, count) if len(part)]
        return [[index for index, row in enumerate(batch.rows) if row.trajectory in part] for part in parts]


class _MiniBatchLoss:
    """The loss of a mini-batch, micro-batch by micro-batch."""

    def __init__(
        self,
        parts: UpdaterParts,
        batch: RolloutBatch,
        rows: list[int],
        old: TokenScores,
        advantages: Advantages,
        reference: Tensor | None,
        tally: _Tally,
        correction: Tensor | None = None,
    ) -> None:
        self._parts, self._old, self._reference, self._tally = parts, old, reference, tally
        self._step_of_token = batch.step_of_token
        self._advantages = advantages.values[batch.step_of_token].float()
        inside = torch.isin(batch.row_of_token, torch.tensor(rows))
        self._weights = torch.zeros(len(batch.row_of_token))
        trajectories = batch.trajectory_of_step[batch.step_of_token[inside]]
        self._weights[inside] = token_weights(trajectories, parts.aggregation, parts.row_budget)
        self._policy_weights = self._weights if correction is None else self._weights * correction

    def __call__(self, micro: MicroBatch, scores: TokenScores) -> Tensor:
        device, rl = scores.logprobs.device, self._parts.rl
        _, step = self._step_of_token[micro.flat].unique(return_inverse=True)
        tokens = PolicyTokens(
            logprobs=scores.logprobs,
            old_logprobs=self._old.logprobs[micro.flat].to(device),
            advantages=self._advantages[micro.flat].to(device),
            weights=self._policy_weights[micro.flat].to(device),
            row=micro.row.to(device),
            step=step.to(device),
            entropies=scores.entropies.detach() if "entropies" in self._parts.loss_needs else None,
            old_entropies=self._old.entropies[micro.flat].to(device),
        )
        result = self._parts.policy_loss(tokens)
        self._tally.add(tokens, result)
        loss, weights = result.loss, self._weights[micro.flat].to(device)
        if self._reference is not None:
            kl = k3(scores.logprobs, self._reference[micro.flat].to(device))
            term = rl.kl_coef * (kl * weights).sum()
            self._tally.add_kl(kl.detach(), term.detach())
            loss = loss + term
        if rl.entropy_coef > 0:
            bonus = -rl.entropy_coef * (scores.entropies * weights).sum()
            self._tally.entropy += float(bonus.detach())
            loss = loss + bonus
        return loss


class _Tally:
    """Sums over the generated tokens of all updates of a step."""

    def __init__(self) -> None:
        self.tokens = self.clipped = 0
        self.policy = self.kl = self.kl_old = self.kl_reference = self.entropy = 0.0

    def add(self, tokens: PolicyTokens, result: PolicyLoss) -> None:
        self.tokens += len(result.clipped)
        self.clipped += int(result.clipped.sum())
        self.policy += float(result.loss.detach())
        # The tokens are the old policy's, so it comes first: E_old[r - 1 - log r] with r = new / old.
        self.kl_old += float(k3(tokens.old_logprobs, tokens.logprobs.detach()).sum())

    def add_kl(self, kl: Tensor, term: Tensor) -> None:
        self.kl_reference += float(kl.sum())
        self.kl += float(term)

    def metrics(self, updates: int, *, with_reference: bool, with_entropy: bool) -> dict[str, float]:
        count = max(self.tokens, 1)
        values = {"loss/policy": self.policy / updates, "loss/clip_share": self.clipped / count, "loss/kl_old": self.kl_old / count}
        if with_reference:
            values |= {"loss/kl": self.kl / updates, "loss/kl_reference": self.kl_reference / count}
        return values | ({"loss/entropy": self.entropy / updates} if with_entropy else {})
