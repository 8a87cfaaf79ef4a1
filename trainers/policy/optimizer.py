"""Updates of a policy's weights: accumulated gradients, clipping, the schedule of the learning rate, skipped updates.

The rule of the update itself (AdamW, Muon, …) comes from `empg_gym.trainers.policy.optimizers`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from empg_gym.errors import TrainingError
from empg_gym.trainers.config.sections import OptimizerConfig
from empg_gym.trainers.data.rows import MicroBatch
from empg_gym.trainers.policy.head import Entropy
from empg_gym.trainers.policy.optimizers import build_optimizers
from empg_gym.trainers.policy.policy import Policy
from empg_gym.trainers.policy.scores import TokenScores


class Optimizer:
    """Updates a policy's weights in one phase.

    Args:
        policy: the policy to update.
        config: optimizer, learning rate, schedule and gradient clipping.
        total_steps: number of updates in the phase, for the schedule.

    Raises:
        ConfigError: the optimizer can't be built; see `empg_gym.trainers.policy.optimizers.build_optimizers`.
        MissingDependencyError: the package of the optimizer is not installed.
    """

    MAX_SKIPPED = 5
    """Number of consecutive updates with a non-finite gradient that counts as a collapse. One bad batch causes one or a few."""

    def __init__(self, policy: Policy, config: OptimizerConfig, total_steps: int) -> None:
        self.policy = policy
        self.config = config
        self.total_steps = total_steps
        self.updates = 0
        self.skipped = 0
        """Updates discarded since the last one that was applied."""
        self.lr = config.lr
        """Learning rate of the last update that was applied."""
        self._optimizers = build_optimizers(policy.model, config)
        self._initial = [[group["lr"] for group in optimizer.param_groups] for optimizer in self._optimizers]
        """Per optimizer: the learning rate of each of its groups, which the schedule scales."""

    def update(
        self, batches: Iterable[MicroBatch], loss: Callable[[MicroBatch, TokenScores], Tensor], *, entropy: Entropy = "none"
    ) -> tuple[float, float]:
        """Apply the gradient of the sum of the micro-batches' losses.

        If the gradient is not finite, the update is discarded: the weights stay unchanged.

        Args:
            batches: the micro-batches.
            loss: function of a micro-batch and its scores.
            entropy: whether the loss uses entropies, with or without their gradient.

        Returns:
            (loss, norm of the gradient before clipping).

        Raises:
            TrainingError: this is the `MAX_SKIPPED`-th consecutive discarded update.
        """
        self._zero_grad()  # gradients left by an interrupted update
        total = 0.0
        for batch in batches:
            part = loss(batch, self.policy.score(batch, entropy=entropy))
            part.backward()
            total += float(part.detach())
        norm = torch.nn.utils.clip_grad_norm_(self.policy.model.parameters(), self.config.max_grad_norm)
        if torch.isfinite(norm):
            self.lr = learning_rate(self.config, self.updates, self.total_steps)
            for optimizer, rates in zip(self._optimizers, self._initial, strict=True):
                for group, rate in zip(optimizer.param_groups, rates, strict=True):
                    group["lr"] = learning_rate(self.config, self.updates, self.total_steps, peak=rate)
                optimizer.step()
            self.skipped = 0
        else:
            self.skipped += 1
            if self.skipped >= self.MAX_SKIPPED:
                raise TrainingError(
                    f"training has collapsed: the gradients of {self.skipped} consecutive updates were not finite (inf or nan); "
                    "lower the learning rate (optimizer.lr) or max_grad_norm, and resume from the last checkpoint or start again"
                )
        self._zero_grad()  # the next rollout needs the memory
        self.updates += 1
        return total, float(norm)

    def state_dict(self) -> dict[str, object]:
        """Return the state from which `load_state_dict` continues exactly here."""
        states = [optimizer.state_dict() for optimizer in self._optimizers]
        return {"optimizers": states, "updates": self.updates, "skipped": self.skipped, "lr": self.lr}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state returned by `state_dict`."""
        for optimizer, saved in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.updates, self.skipped, self.lr = int(state["updates"]), int(state["skipped"]), float(state["lr"])

    def _zero_grad(self) -> None:
        for optimizer in self._optimizers:
            optimizer.zero_grad(set_to_none=True)


def learning_rate(config: OptimizerConfig, update: int, total: int, *, peak: float | None = None) -> float:
    """Return the learning rate of an update, counted from 0; `peak` replaces the section's `lr`."""
    peak = config.lr if peak is None else peak
    if update < config.warmup_steps:
        return peak * (update + 1) / config.warmup_steps
    progress = min(1.0, (update - config.warmup_steps) / max(1, total - config.warmup_steps))
    falling = {"constant": 1.0, "linear": 1.0 - progress, "cosine": 0.5 * (1 + math.cos(math.pi * progress))}[config.schedule]
    return peak * (config.final_lr_share + (1 - config.final_lr_share) * falling)
