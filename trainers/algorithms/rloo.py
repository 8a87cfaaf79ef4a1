"""RLOO: REINFORCE with the other trajectories of the group as the baseline (Ahmadian et al. 2024, arXiv 2402.14740).

    A_i = R_i - 1/(G-1) sum_{j != i} R_j = G/(G-1) (R_i - mean(R))        over the G trajectories of the group
    A_t = A_i - p_t                                                      for every step t of trajectory i; p_t is the step's penalty

The baseline of a trajectory does not contain its own reward, so the estimate of the gradient is unbiased.

Decided here:
    - Statistics run over trajectories, one value each.
    - A group of one has no others to compare with: advantage 0.
    - Equal rewards give exactly 0.
"""

from __future__ import annotations

from empg_gym.trainers.algorithms import register_advantage
from empg_gym.trainers.algorithms.base import Advantages, RolloutSteps
from empg_gym.trainers.algorithms.branches import mean_over_paths
from empg_gym.trainers.algorithms.credit import normalise, visits
from empg_gym.trainers.algorithms.distinct import on_distinct_steps
from empg_gym.trainers.algorithms.penalties import Penalty, after_normalisation, check_trajectory_penalty, penalised_rewards


@register_advantage("rloo")
@on_distinct_steps
def rloo(batch: RolloutSteps, *, penalty: Penalty = "advantage") -> Advantages:
    """Return RLOO's advantage: that of the step's trajectory, less the step's penalty.

    Args:
        batch: the rollout batch.
        penalty: where the penalties of the steps go: "advantage" or "reward", see `penalties`.

    Raises:
        ConfigError: another value of `penalty`.
    """
    check_trajectory_penalty(penalty)
    G = visits(batch.groups)
    A = normalise(penalised_rewards(batch, penalty), batch.groups, scale=False) * G / (G - 1).clamp(min=1)
    values = after_normalisation(mean_over_paths(A, batch), batch, penalty)
    return Advantages(values=values, base=values)
