"""Attention that compares tokens from the start.

If the queries and keys of a head have the same weights, a token's score for another is the inner product of their projected embeddings:
largest for the token itself and for tokens with a similar embedding. A small model that has to find the "mug" of its task among the names
that it reads ("mug 2") learns this comparison late or never from independent weights. Pretrained models have such heads in their first
layers; Trockman & Kolter (2023, "Mimetic Initialization of Self-Attention Layers") start new models from that pattern.
"""

from __future__ import annotations

import torch
from torch import Tensor


def match_queries_and_keys(query: Tensor, key: Tensor, *, head_size: int, scale: float) -> None:
    """Scale the keys' weights and use them for the queries as well, in place.

    Args:
        query: [H * d, D] weights of H heads of size d.
        key: [K * d, D] weights of K heads; each is shared by H / K consecutive queries.
        head_size: d.
        scale: factor of both weights; the scores grow with its square.
    """
    shared = query.shape[0] // key.shape[0]
    with torch.no_grad():
        key.mul_(scale)
        query.copy_(key.unflatten(0, (-1, head_size)).repeat_interleave(shared, dim=0).flatten(0, 1))
