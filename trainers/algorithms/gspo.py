"""GSPO: one ratio for a whole sequence (Zheng et al. 2025, arXiv 2507.18071).

    s   = exp( mean over the sequence's generated tokens of (log pi - log pi_old) )
    s_t = sg(s) pi / sg(pi)                                          value s, gradient s grad log pi of the token
    L_t = -min( s_t A, clip(s_t, 1 - eps_low, 1 + eps_high) A )

sg stops the gradient. Token ratios are noisy in long responses; their geometric mean is not, so the clip range is narrower by two orders of
magnitude.

Decided here:
    - A sequence is a row of the batch (`sequence="row"`). A row may hold a whole trajectory of many steps; `sequence="step"` forms one
      ratio for each step instead, which is what implementations with one row for each step compute (SAMPO).
    - The mean counts every generated token of the sequence once, whatever its aggregation weight.
    - There is no dual clip unless `dual_clip` is given: with A < 0 and s = 4 the loss is 4 |A|, as released.
    - log s_t is bounded above at 10. A token beyond has no gradient.

The paper's clip range for long single responses is the default. ARLArena uses 0.003 and 0.004 on ALFWorld, 0.03 and 0.04 on WebShop. The
method's aggregation is the mean over sequences of the mean over tokens (`rl.aggregation = "row-mean"`).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from empg_gym.errors import ConfigError
from empg_gym.trainers.algorithms import register_policy_loss
from empg_gym.trainers.algorithms.base import PolicyLoss, PolicyTokens
from empg_gym.trainers.algorithms.checks import check_choice
from empg_gym.trainers.algorithms.credit import group_means
from empg_gym.trainers.algorithms.ppo_clip import check_ranges, cut_negative

Sequence = Literal["row", "step"]
MAX_LOG_RATIO = 10.0


@register_policy_loss("gspo")
def gspo(
    tokens: PolicyTokens, *, clip_low: float = 3e-4, clip_high: float = 4e-4, sequence: Sequence = "row", dual_clip: float | None = None
) -> PolicyLoss:
    """Return GSPO's loss, weighted and summed over the tokens.

    Args:
        tokens: the micro-batch, in whole rows.
        clip_low: lower bound of the ratio, as a distance from 1.
        clip_high: upper bound of the ratio, as a distance from 1.
        sequence: what has one ratio: "row" or "step".
        dual_clip: bound of the loss where A < 0, in units of |A|; None for no bound.

    Raises:
        ConfigError: a clip range outside its bounds, an unknown `sequence`, or "step" without `PolicyTokens.step`.
    """
    check_ranges(clip_low, clip_high, dual_clip)
    A = tokens.advantages
    ratio, beyond = _ratios(tokens, _sequence_ids(tokens, sequence))
    free = -ratio * A
    bound = -ratio.clamp(1 - clip_low, 1 + clip_high) * A
    loss, cut = cut_negative(torch.maximum(free, bound), A, dual_clip)
    clipped = (bound > free) | cut | beyond
    return PolicyLoss(loss=(loss * tokens.weights).sum(), clipped=clipped.detach())


def _sequence_ids(tokens: PolicyTokens, sequence: Sequence) -> Tensor:
    check_choice("sequence of gspo", sequence, Sequence)
    if sequence == "row":
        return tokens.row
    if tokens.step is None:
        raise ConfigError('gspo with sequence = "step" needs PolicyTokens.step, which this micro-batch lacks')
    return tokens.step


def _ratios(tokens: PolicyTokens, sequence_N: Tensor) -> tuple[Tensor, Tensor]:
    """Return [N] s_t, and where the bound on its logarithm applies."""
    logprobs = tokens.logprobs
    log_ratio = (logprobs - tokens.old_logprobs).detach()
    log_s = group_means(log_ratio, sequence_N) + (logprobs - logprobs.detach())
    return log_s.clamp(max=MAX_LOG_RATIO).exp(), log_s > MAX_LOG_RATIO
