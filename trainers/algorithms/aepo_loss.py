"""AEPO's policy loss: a clip that keeps the gradient above its bound (Dong et al. 2025, arXiv 2510.14545, after GPPO).

    r = exp(log pi - log pi_old)
    L = -min( r A, clip(r, 1 - eps_low, (1 + eps_high) r / sg(r)) A )        for each generated token
    A < 0:  L = min(L, -c A)                                                dual clip; off with None

sg stops the gradient. The value is that of `ppo_clip`. The gradient is F A grad log pi with

    F = 1 + eps_high   where r > 1 + eps_high and A > 0                      ppo_clip has 0 here
    F = 0              where r < 1 - eps_low and A < 0, or the dual clip applies
    F = r              elsewhere

so a token that has become much likelier, often one of high entropy, still learns, with a bounded step.

Decided here:
    - There is no entropy gate: F applies to every token, as in the paper and in the authors' code. (ARLArena's port detaches the bound of
      high-entropy tokens and so removes the gradient of exactly those that AEPO wants to keep.)
    - The entropy-aware advantage is the advantage `aepo`, a function of the whole rollout batch. The authors' code computes it inside the
      loss instead; see there.
    - The dual clip c = 3 is on, as in the authors' code.
"""

from __future__ import annotations

import torch

from empg_gym.trainers.algorithms import register_policy_loss
from empg_gym.trainers.algorithms.base import PolicyLoss, PolicyTokens
from empg_gym.trainers.algorithms.ppo_clip import MAX_LOG_RATIO, check_ranges, cut_negative


@register_policy_loss("aepo")
def aepo_loss(tokens: PolicyTokens, *, clip_low: float = 0.2, clip_high: float = 0.2, dual_clip: float | None = 3.0) -> PolicyLoss:
    """Return AEPO's loss, weighted and summed over the tokens.

    Args:
        tokens: the micro-batch.
        clip_low: lower bound of the ratio, as a distance from 1.
        clip_high: upper bound of the ratio, as a distance from 1; the gradient remains above it.
        dual_clip: bound of the loss where A < 0, in units of |A|; None for no bound.

    Raises:
        ConfigError: a clip range outside its bounds.
    """
    check_ranges(clip_low, clip_high, dual_clip)
    A = tokens.advantages
    ratio = torch.exp((tokens.logprobs - tokens.old_logprobs).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO))
    one = torch.exp(tokens.logprobs - tokens.logprobs.detach())  # r / sg(r): value 1, gradient grad log pi
    free = -ratio * A
    bounded = torch.where(ratio > 1 + clip_high, (1 + clip_high) * one, ratio.clamp(min=1 - clip_low))
    bound = -bounded * A
    loss, cut = cut_negative(torch.maximum(free, bound), A, dual_clip)
    clipped = ((bound > free) & (ratio < 1 - clip_low)) | cut
    return PolicyLoss(loss=(loss * tokens.weights).sum(), clipped=clipped.detach())
