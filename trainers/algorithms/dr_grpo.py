"""Dr. GRPO: GRPO without the division by the standard deviation (Liu et al. 2025, arXiv 2503.20783).

    A_i = R_i - mean(R)                              over the G trajectories of the group
    A_t = A_i - p_t                                  for every step t of trajectory i; p_t is the step's penalty

Dividing by the standard deviation gives easy and hard tasks, where rewards hardly differ, the weight of those where they differ most.
The other half of the method is the aggregation: a token sum with a constant divisor (`rl.aggregation = "row-sum"`), so that length has no
influence.

Decided here:
    - Statistics run over trajectories, one value each.
    - A group of one has advantage 0. (`grpo` with `scale=False` returns its reward.)
    - Equal rewards give exactly 0.
"""

from __future__ import annotations

from empg_gym.trainers.algorithms import register_advantage
from empg_gym.trainers.algorithms.base import Advantages, RolloutSteps
from empg_gym.trainers.algorithms.branches import mean_over_paths
from empg_gym.trainers.algorithms.credit import normalise
from empg_gym.trainers.algorithms.distinct import on_distinct_steps
from empg_gym.trainers.algorithms.penalties import Penalty, after_normalisation, check_trajectory_penalty, penalised_rewards


@register_advantage("dr_grpo")
@on_distinct_steps
def dr_grpo(batch: RolloutSteps, *, penalty: Penalty = "advantage") -> Advantages:
    """Return Dr. GRPO's advantage: that of the step's trajectory, less the step's penalty.

    Args:
        batch: the rollout batch.
        penalty: where the penalties of the steps go: "advantage" or "reward", see `penalties`.

    Raises:
        ConfigError: another value of `penalty`.
    """
    check_trajectory_penalty(penalty)
    A = normalise(penalised_rewards(batch, penalty), batch.groups, scale=False)
    values = after_normalisation(mean_over_paths(A, batch), batch, penalty)
    return Advantages(values=values, base=values)
