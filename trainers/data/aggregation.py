"""Aggregation of token losses into one loss: a weight for each generated token of a mini-batch.

    token-mean      1 / N                            every token has the same weight (DAPO; verl's default)
    row-mean        1 / (R |row|)                    every row has the same weight (the GRPO paper)
    row-sum         1 / (R budget)                   a constant divisor, so that length has no influence (Dr. GRPO)

Weights are computed over the whole mini-batch, so that the losses of its micro-batches add up to the same loss however it is split.
"""

from __future__ import annotations

import torch
from torch import Tensor

from empg_gym.errors import ConfigError, nearest

AGGREGATIONS = ("token-mean", "row-mean", "row-sum")


def token_weights(rows: Tensor, aggregation: str, *, budget: int = 1) -> Tensor:
    """Return [N] the weight of each token.

    Args:
        rows: [N] integer id of the token's row.
        aggregation: one of `AGGREGATIONS`.
        budget: number of tokens that "row-sum" divides by, regardless of the row's length.

    Raises:
        ConfigError: there is no such aggregation.
    """
    if aggregation not in AGGREGATIONS:
        raise ConfigError(f"unknown aggregation {aggregation!r}; {nearest(aggregation, AGGREGATIONS)}")
    if aggregation == "token-mean" or len(rows) == 0:
        return torch.full((len(rows),), 1 / max(len(rows), 1))
    _, index, lengths = rows.unique(return_inverse=True, return_counts=True)
    if aggregation == "row-sum":
        return torch.full((len(rows),), 1 / (len(lengths) * budget))
    return 1 / (len(lengths) * lengths[index].float())
