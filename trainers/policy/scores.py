"""`TokenScores`: what a pass over rows says about their generated tokens. Importing this imports no transformers."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True, slots=True)
class TokenScores:
    """Log-probabilities and entropies of the generated tokens of a micro-batch, or of a whole batch."""

    logprobs: Tensor
    """[n] float32, with gradient if gradients are enabled."""
    entropies: Tensor
    """[n] float32, in nats; with gradient only if requested, NaN if not requested at all."""
    metrics: dict[str, float] = field(default_factory=dict)
    """What the scorer of a batch reports."""
