"""REINFORCE++: returns normalised over the whole batch (Hu 2025, arXiv 2501.03262).

    baseline "none":   A_i = (R_i - mean(R)) / (std(R) + eps)                 over the T trajectories of the batch, std unbiased
    baseline "group":  c_i = R_i - mean of its group;  A_i = c_i / (std(c) + eps)
                       A_t = A_i - p_t                                        for every step t of trajectory i; p_t is its penalty

One scale for the whole batch: a group where rewards hardly differ is not blown up to the size of the others, as GRPO's own scale per group
does.

Decided here:
    - Statistics run over trajectories, one value each. (The authors' code takes them over tokens, so that long responses weigh more.)
    - The return is undiscounted. The KL term is in the loss (`rl.kl_coef`), not in the return.
    - With `baseline="group"` the mean of c is 0 by construction and is not subtracted, so equal rewards in a group give exactly 0.
    - A batch of one trajectory has advantage 0, and so has a group of one with `baseline="group"`.
    - With `baseline="none"` an all-fail group has a negative advantage and an all-success group a positive one: no group is without a
      signal, and hard tasks are pushed down as a whole.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from empg_gym.trainers.algorithms import register_advantage
from empg_gym.trainers.algorithms.base import Advantages, RolloutSteps
from empg_gym.trainers.algorithms.branches import mean_over_paths
from empg_gym.trainers.algorithms.checks import check_choice
from empg_gym.trainers.algorithms.credit import EPSILON, normalise
from empg_gym.trainers.algorithms.distinct import on_distinct_steps
from empg_gym.trainers.algorithms.penalties import Penalty, after_normalisation, check_trajectory_penalty, penalised_rewards

Baseline = Literal["none", "group"]


@register_advantage("reinforce_pp")
@on_distinct_steps
def reinforce_pp(
    batch: RolloutSteps, *, baseline: Baseline = "none", epsilon: float = EPSILON, penalty: Penalty = "advantage"
) -> Advantages:
    """Return REINFORCE++'s advantage: that of the step's trajectory, less the step's penalty.

    Args:
        batch: the rollout batch.
        baseline: what is subtracted before the normalisation: "none" or the mean of the "group".
        epsilon: added to the standard deviation.
        penalty: where the penalties of the steps go: "advantage" or "reward", see `penalties`.

    Raises:
        ConfigError: an unknown `baseline`, or another value of `penalty`.
    """
    check_choice("baseline of reinforce_pp", baseline, Baseline)
    check_trajectory_penalty(penalty)
    R = penalised_rewards(batch, penalty)
    if baseline == "group":
        A = _scaled(normalise(R, batch.groups, scale=False), epsilon)
    else:
        A = normalise(R, torch.zeros_like(batch.groups), epsilon=epsilon)
    values = after_normalisation(mean_over_paths(A, batch), batch, penalty)
    return Advantages(values=values, base=values)


def _scaled(centred_T: Tensor, epsilon: float) -> Tensor:
    """Return values of mean 0 over their standard deviation."""
    variance = centred_T.square().sum() / max(len(centred_T) - 1, 1)
    return centred_T / (variance.sqrt() + epsilon)
