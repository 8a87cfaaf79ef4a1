"""AdamW with a learning rate schedule; an update accumulates the losses of micro-batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from empg_gym.errors import TrainingError
from empg_gym.trainers.config.sections import OptimizerConfig
from empg_gym.trainers.data.rows import MicroBatch
from empg_gym.trainers.policy.head import Entropy
from empg_gym.trainers.policy.policy import Policy, TokenScores


class Optimizer:
    """Updates a policy's weights in one phase.

    Args:
        policy: the policy to update.
        config: learning rate, schedule and gradient clipping.
        total_steps: number of updates in the phase, for the schedule.
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
        self.adamw = torch.optim.AdamW(
            policy.model.parameters(),
            lr=config.lr,
            betas=(config.beta1, config.beta2),
            weight_decay=config.weight_decay,
            fused=policy.device.type == "cuda" or None,  # the default implementation needs copies of all weights
        )

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
        self.adamw.zero_grad(set_to_none=True)  # gradients left by an interrupted update
        total = 0.0
        for batch in batches:
            part = loss(batch, self.policy.score(batch, entropy=entropy))
            part.backward()
            total += float(part.detach())
        norm = torch.nn.utils.clip_grad_norm_(self.policy.model.parameters(), self.config.max_grad_norm)
        if torch.isfinite(norm):
            for group in self.adamw.param_groups:
                group["lr"] = learning_rate(self.config, self.updates, self.total_steps)
            self.adamw.step()
            self.skipped = 0
        else:
            self.skipped += 1
            if self.skipped >= self.MAX_SKIPPED:
                raise TrainingError(
                    f"training has collapsed: the gradients of {self.skipped} consecutive updates were not finite (inf or nan); "
                    "lower the learning rate (optimizer.lr) or max_grad_norm, and resume from the last checkpoint or start again"
                )
        self.adamw.zero_grad(set_to_none=True)  # the next rollout needs the memory
        self.updates += 1
        return total, float(norm)

    def state_dict(self) -> dict[str, object]:
        """Return the state from which `load_state_dict` continues exactly here."""
        return {"adamw": self.adamw.state_dict(), "updates": self.updates, "skipped": self.skipped}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Restore a state returned by `state_dict`."""
        self.adamw.load_state_dict(state["adamw"])  # type: ignore[arg-type]
        self.updates = int(state["updates"])  # type: ignore[call-overload]
        self.skipped = int(state.get("skipped", 0))  # type: ignore[call-overload]


def learning_rate(config: OptimizerConfig, update: int, total: int) -> float:
    """Return the learning rate of an update, counted from 0."""
    if update < config.warmup_steps:
        return config.lr * (update + 1) / config.warmup_steps
    progress = min(1.0, (update - config.warmup_steps) / max(1, total - config.warmup_steps))
    falling = {"constant": 1.0, "linear": 1.0 - progress, "cosine": 0.5 * (1 + math.cos(math.pi * progress))}[config.schedule]
    return config.lr * (config.final_lr_share + (1 - config.final_lr_share) * falling)
