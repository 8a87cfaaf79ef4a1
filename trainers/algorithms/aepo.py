"""AEPO's entropy-aware advantage (Dong et al. 2025, arXiv 2510.14545).

    z(H_t)  = (H_t - mean(H)) / std(H)               H_t the mean token entropy of the step, std unbiased
    A~(i,t) = A(i) (1 + a z(H_t))                    A(i) the advantage for accuracy: GRPO's, or that of another base

Uncertain steps learn more. EMPG does the opposite: it scales uncertain steps down.

Decided where the paper and the authors' code differ or leave room:
    - One value per step. The authors' code has one per token: z over the valid response tokens of the current *micro-batch*, of the current
      policy's entropy, in the same forward pass as the loss. The result then depends on how the batch was cut. Token entropies are not
      part of an advantage's input, so the granularity of tokens is not offered.
    - mean and std run over all steps of the whole rollout batch, each counted once, or over those of the step's group by option. Nothing
      is kept from one batch to the next.
    - Entropies are those of the old policy, fixed through all epochs. On the first update of a batch they equal the current policy's.
    - Entropies are required. (In the authors' code they are None unless `entropy_coeff` is set, and the method is then off without a word.)
    - a = 0.2, as hard-coded there; a = 0 returns the base bit by bit. The factor is not bounded: it is negative where z < -1/a = -5.
      `aepo/sign_flips` counts such steps.
    - Equal entropies give z = 0. A step that generated nothing (entropy NaN) enters no statistic and keeps the base's advantage. Any other
      value that is not finite is refused with the name of its step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from empg_gym.errors import ConfigError, TrainingError
from empg_gym.trainers.algorithms import get_advantage, register_advantage
from empg_gym.trainers.algorithms.base import Advantages, RolloutSteps
from empg_gym.trainers.algorithms.checks import check_choice, require_finite_steps
from empg_gym.trainers.algorithms.credit import normalise
from empg_gym.trainers.algorithms.unique import unique_steps

Statistics = Literal["batch", "group"]
TINY = 1e-150
"""Added to the standard deviation: without effect except on 0 / 0."""


@register_advantage("aepo")
def aepo(
    batch: RolloutSteps,
    *,
    a: float = 0.2,
    statistics: Statistics = "batch",
    base: str = "grpo",
    base_options: Mapping[str, Any] | None = None,
) -> Advantages:
    """Return the entropy-aware advantage of every step, on top of any advantage.

    Args:
        batch: the rollout batch.
        a: how strongly the entropy of a step acts on its advantage.
        statistics: the steps that the entropy is compared with: those of the "batch" or of its "group".
        base: a registered advantage, or `module:object`.
        base_options: options of the base.

    Returns:
        The modulated advantages, with the base's.

    Raises:
        ConfigError: an unknown base or option, or an option out of range.
        TrainingError: a reward or base advantage is not finite, an entropy is infinite, or no step has an entropy.
    """
    check_choice("statistics of aepo", statistics, Statistics)
    if not (math.isfinite(a) and a >= 0):
        raise ConfigError(f"a must be finite and at least 0, not {a}")
    given = get_advantage(base, base_options)(batch)
    require_finite_steps("advantage", given.values, batch.trajectory, batch.step)
    require_finite_steps("entropy", batch.entropies, batch.trajectory, batch.step, allow_nan=True)
    factor = 1 + a * _z(batch, statistics)
    values = (given.values.double() * factor).to(given.values.dtype)
    return Advantages(values=values, base=given.values, metrics=given.metrics | _metrics(factor, batch.entropies))


def _z(batch: RolloutSteps, statistics: Statistics) -> Tensor:
    """Return [S] the standardised entropy of each step; 0 where it generated nothing."""
    kept = ~batch.entropies.isnan()
    z = torch.zeros_like(batch.entropies, dtype=torch.float64)
    if not kept.any():
        if len(kept):
            raise TrainingError(f"aepo needs the entropies of steps, and none of the {len(kept)} steps of this batch has one")
        return z
    steps = unique_steps(batch.trajectory[kept], batch.step[kept])
    groups = batch.groups[steps.trajectory]
    ids = groups if statistics == "group" else torch.zeros_like(groups)
    z[kept] = normalise(batch.entropies[kept].double()[steps.first], ids, epsilon=TINY)[steps.origin]
    return z


def _metrics(factor: Tensor, entropies: Tensor) -> dict[str, float]:
    factor = factor[~entropies.isnan()]
    if not len(factor):
        return {}
    return {
        "aepo/factor_min": float(factor.min()),
        "aepo/factor_max": float(factor.max()),
        "aepo/sign_flips": float((factor < 0).double().mean()),
    }
