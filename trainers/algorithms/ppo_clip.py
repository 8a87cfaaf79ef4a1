"""The clipped surrogate of PPO (Schulman et al. 2017, arXiv 1707.06347), as GRPO and DAPO use it.

    r = exp(log pi - log pi_old)
    L = -min( r A, clip(r, 1 - eps_low, 1 + eps_high) A )            each generated token
    A < 0:  L = min(L, -c A)                                         dual clip (Ye et al. 2020), c > 1; off with None

`clip_low = clip_high = 0.2` is GRPO's; DAPO's clip-higher is 0.2 and 0.28. The dual clip c = 3 is on in verl, so it is here.
"""

from __future__ import annotations

import torch

from empg_gym.errors import ConfigError
from empg_gym.trainers.algorithms import register_policy_loss
from empg_gym.trainers.algorithms.base import PolicyLoss, PolicyTokens


@register_policy_loss("ppo_clip")
def ppo_clip(tokens: PolicyTokens, *, clip_low: float = 0.2, clip_high: float = 0.2, dual_clip: float | None = 3.0) -> PolicyLoss:
    """Return the clipped loss, weighted and summed over the tokens.

    Raises:
        ConfigError: a clip range outside its bounds.
    """
    if not 0 <= clip_low < 1 or clip_high < 0 or (dual_clip is not None and dual_clip <= 1):
        raise ConfigError(f"expected 0 <= clip_low < 1, clip_high >= 0 and dual_clip > 1, not {clip_low}, {clip_high}, {dual_clip}")
    A = tokens.advantages
    # Larger ratios overflow. A token beyond e**20 gets no gradient, which it would have had only where A < 0 and dual_clip is None.
    ratio = torch.exp((tokens.logprobs - tokens.old_logprobs).clamp(-20, 20))
    free = -ratio * A
    bound = -ratio.clamp(1 - clip_low, 1 + clip_high) * A
    loss = torch.maximum(free, bound)
    clipped = bound > free
    if dual_clip is not None:
        cut = (A < 0) & (loss > -dual_clip * A)
        loss = torch.where(cut, -dual_clip * A, loss)
        clipped = clipped | cut
    return PolicyLoss(loss=(loss * tokens.weights).sum(), clipped=clipped.detach())
