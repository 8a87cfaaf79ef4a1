"""The clipped surrogate of PPO (Schulman et al. 2017, arXiv 1707.06347), as GRPO and DAPO use it.

    r = exp(log pi - log pi_old)
    L = -min( r A, clip(r, 1 - eps_low, 1 + eps_high) A )            for each generated token
    A < 0:  L = min(L, -c A)                                         dual clip (Ye et al. 2020), c > 1; off with None

`clip_low = clip_high = 0.2` is GRPO's; DAPO's clip-higher is 0.2 and 0.28. The dual clip c = 3 is on in verl, so it is here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from empg_gym.errors import ConfigError
from empg_gym.trainers.algorithms import register_policy_loss
from empg_gym.trainers.algorithms.base import PolicyLoss, PolicyTokens

MAX_LOG_RATIO = 20.0


@register_policy_loss("ppo_clip")
def ppo_clip(tokens: PolicyTokens, *, clip_low: float = 0.2, clip_high: float = 0.2, dual_clip: float | None = 3.0) -> PolicyLoss:
    """Return the clipped loss, weighted and summed over the tokens.

    Args:
        tokens: the micro-batch.
        clip_low: lower bound of the ratio, as a distance from 1.
        clip_high: upper bound of the ratio, as a distance from 1.
        dual_clip: bound of the loss where A < 0, in units of |A|; None for no bound.

    Raises:
        ConfigError: a clip range outside its bounds.
    """
    check_ranges(clip_low, clip_high, dual_clip)
    A = tokens.advantages
    # Larger ratios overflow. A token beyond e**20 gets no gradient, which it would have had only where A < 0 and dual_clip is None.
    ratio = torch.exp((tokens.logprobs - tokens.old_logprobs).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO))
    free = -ratio * A
    bound = -ratio.clamp(1 - clip_low, 1 + clip_high) * A
    loss, cut = cut_negative(torch.maximum(free, bound), A, dual_clip)
    return PolicyLoss(loss=(loss * tokens.weights).sum(), clipped=((bound > free) | cut).detach())


def check_ranges(clip_low: float, clip_high: float, dual_clip: float | None) -> None:
    """Check the clip ranges of a policy loss.

    Raises:
        ConfigError: a range outside its bounds.
    """
    if not 0 <= clip_low < 1 or not clip_high >= 0 or (dual_clip is not None and not dual_clip > 1):
        raise ConfigError(f"expected 0 <= clip_low < 1, clip_high >= 0 and dual_clip > 1, not {clip_low}, {clip_high}, {dual_clip}")


def cut_negative(loss: Tensor, advantages: Tensor, dual_clip: float | None) -> tuple[Tensor, Tensor]:
    """Apply the dual clip.

    Returns:
        [N] the loss of each token, and [N] whether the dual clip replaced it.
    """
    if dual_clip is None:
        return loss, torch.zeros_like(loss, dtype=torch.bool)
    limit = -dual_clip * advantages
    cut = (advantages < 0) & (loss > limit)
    return torch.where(cut, limit, loss), cut
