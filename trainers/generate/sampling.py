"""Drawing tokens from logits, with their log-probability and the entropy of the sampling distribution.

Rules:
    - The sampling distribution is softmax(logits / temperature) over the whole vocabulary, in float32. With top_k or top_p it is
      truncated and renormalised; training on such samples is biased by the removed mass, so both are off by default.
    - temperature = 0 selects the most probable token; log-probability and entropy are then those of temperature 1.
    - Entropy is the Shannon entropy in nats.
    - A token is drawn by inverting the cumulative distribution at a uniform number from the caller, so that it depends only on the row's
      logits and that number.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from empg_gym.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are drawn.

    Raises:
        ConfigError: a value out of range.
    """

    temperature: float = 1.0
    """Divides the logits; 0 is greedy."""
    top_p: float = 1.0
    """Draw from the smallest set of tokens with at least this probability; 1 is off."""
    top_k: int = 0
    """Draw from this many most probable tokens; 0 is off."""

    def __post_init__(self) -> None:
        if not self.temperature >= 0:
            raise ConfigError(f"temperature must be at least 0, not {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p must be above 0 and at most 1 (1 is off), not {self.top_p}")
        if self.top_k < 0:
            raise ConfigError(f"top_k must be at least 0 (0 is off), not {self.top_k}")


def log_probabilities(logits_BV: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Return [B, V] log-probabilities of the sampling distribution in float32; -inf for tokens removed by top_k or top_p."""
    logits = logits_BV.float()
    if sampling.temperature not in (0.0, 1.0):
        logits = logits / sampling.temperature
    if 0 < sampling.top_k < logits.shape[-1]:
        kept = logits.topk(sampling.top_k, dim=-1)
        logits = torch.full_like(logits, -torch.inf).scatter(-1, kept.indices, kept.values)
    if sampling.top_p < 1:
        ordered, order = logits.sort(dim=-1, descending=True, stable=True)
        probability = ordered.softmax(-1)
        cut = probability.cumsum(-1) - probability >= sampling.top_p
        logits = torch.full_like(logits, -torch.inf).scatter(-1, order, ordered.masked_fill(cut, -torch.inf))
    return logits.log_softmax(-1)


def sample(logits_BV: torch.Tensor, uniforms_BK: torch.Tensor, sampling: Sampling) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Draw K tokens from each distribution.

    Args:
        logits_BV: [B, V] logits of any float type.
        uniforms_BK: [B, K] numbers in [0, 1), float64.
        sampling: how to draw.

    Returns:
        (ids [B, K] int64, log-probabilities [B, K] float32, entropies [B] float32, in nats).
    """
    logp = log_probabilities(logits_BV, sampling)
    probability = logp.exp()
    entropy = logp.clamp_min(torch.finfo(logp.dtype).min).mul_(probability).sum(-1).neg_()
    if sampling.temperature == 0:
        ids = logp.argmax(-1, keepdim=True).expand(uniforms_BK.shape)
    else:
        cumulative = probability.cumsum(-1, dtype=uniforms_BK.dtype)
        total = cumulative[:, -1:]
        target = torch.minimum(uniforms_BK * total, torch.nextafter(total, torch.zeros_like(total)))
        # With NaN logits the search returns an index past the vocabulary; the caller recognises it by the entropy.
        ids = torch.searchsorted(cumulative, target, right=True).clamp_max(logp.shape[-1] - 1)
    return ids, logp.gather(-1, ids), entropy
