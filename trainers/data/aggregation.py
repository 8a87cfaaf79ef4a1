"""Aggregation of token losses into one loss: a weight for each generated token of a mini-batch.

    token-mean      1 / N                            every token has the same weight (DAPO; verl's default)
    row-mean        1 / (T |trajectory|)             every trajectory has the same weight (the GRPO paper)
    row-sum         1 / (T budget)                   a constant divisor, so that length has no influence (Dr. GRPO)

A trajectory is usually one row. Where a chat template or a window of the history splits it into several, it still counts once.

An aggregation is a function `(trajectories, budget) -> weights`: [N] integer id of each token's trajectory and the tokens that a constant
divisor stands for (`rollout.max_row_tokens`) to [N] weights. It sees the whole mini-batch, so the losses of the micro-batches add up to the
same loss however the mini-batch is split.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from empg_gym.errors import ConfigError
from empg_gym.trainers.registry import Registry

Aggregation = Callable[[Tensor, int], Tensor]
"""`(trajectories, budget) -> weights`"""
AGGREGATIONS: Registry[Aggregation] = Registry("aggregation")


@AGGREGATIONS.register("token-mean")
def token_mean(trajectories: Tensor, budget: int) -> Tensor:
    """Return 1 / N: every token has the same weight (DAPO; verl's default)."""
    return torch.full((len(trajectories),), 1 / max(len(trajectories), 1))


@AGGREGATIONS.register("row-mean")
def row_mean(trajectories: Tensor, budget: int) -> Tensor:
    """Return 1 / (T |trajectory|): every trajectory has the same weight, however many rows it has (the GRPO paper)."""
    _, index, lengths = trajectories.unique(return_inverse=True, return_counts=True)
    return 1 / (len(lengths) * lengths[index].float())


@AGGREGATIONS.register("row-sum")
def row_sum(trajectories: Tensor, budget: int) -> Tensor:
    """Return 1 / (T budget): a constant divisor, so that length has no influence (Dr. GRPO)."""
    return torch.full((len(trajectories),), 1 / (max(len(trajectories.unique()), 1) * budget))


def token_weights(trajectories: Tensor, aggregation: Callable[..., Tensor], budget: int) -> Tensor:
    """Return [N] the weights of an aggregation, checked.

    Raises:
        ConfigError: the aggregation does not return one weight per token.
    """
    weights = aggregation(trajectories, budget)
    if not isinstance(weights, Tensor) or weights.shape != trajectories.shape:
        found = f"a tensor of shape {tuple(weights.shape)}" if isinstance(weights, Tensor) else type(weights).__name__
        raise ConfigError(f"rl.aggregation must return one weight per token, a tensor of shape {tuple(trajectories.shape)}, not {found}")
    return weights
