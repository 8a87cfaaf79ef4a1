"""G2PO: judge a step by the value of the state it leads to, among its siblings and as a gain (arXiv 2606.22995).

    v_t  = gamma^(T_i - t) R_i                        T_i steps in trajectory i, t from 0: the last step carries one factor
    V(s) = mean of v_t over all visits of s in the group
           R* after the last step of a success, 0 after that of any other trajectory
    NC_t = (V(s'_t) - mean) / (std + eps)             over the steps of the group that began in the same state: the node term
    EC_t = (V(s'_t) - V(s_t) - mean) / (std + eps)    over all steps of the group: the edge term
    A_t  = A^E_i + w (NC_t + EC_t) - p_t              A^E as in GRPO; std unbiased; p_t is the step's penalty

Decided where the paper leaves room:
    - Success is the environment's flag, and R* the highest reward of a successful trajectory of the group, or the option
      `success_reward`. (The released code compares the reward with 10.0 exactly.) An end that is cut by a limit has value 0.
    - gamma is an option; the released code has 0.95 built in.
    - s'_t is the state before the trajectory's next step; the state after its last step is not used.
    - A trajectory that visits a state often weighs more in V(s), as released.
    - A step that is alone in its state has NC = 0; the step of a group of one step has EC = 0 (NaN in the released code).
    - EC is not 0 for a step that keeps V: it is then judged against the mean gain of the group.
    - V is free of penalties. The penalty is subtracted at the end, unscaled. With `penalty="return"` it is subtracted from V(s'_t) in the
      node term, and from the step's score in A^E with `cross_steps`, as released; the size is always that of `penalties`.
    - `scale=False` omits all divisions ("mean_norm", which the authors use for WebShop).
"""

from __future__ import annotations

import torch
from torch import Tensor

from empg_gym.trainers.algorithms import register_advantage
from empg_gym.trainers.algorithms.base import Advantages, RolloutSteps
from empg_gym.trainers.algorithms.checks import check_discount
from empg_gym.trainers.algorithms.credit import (
    EPSILON,
    group_means,
    grouping_metrics,
    normalise,
    state_groups,
    step_groups,
    steps_to_go,
    success_rewards,
)
from empg_gym.trainers.algorithms.distinct import on_distinct_steps
from empg_gym.trainers.algorithms.grpo import episode_term
from empg_gym.trainers.algorithms.penalties import Penalty, after_normalisation, before_normalisation


@register_advantage("g2po")
@on_distinct_steps
def g2po(
    batch: RolloutSteps,
    *,
    gamma: float = 0.95,
    step_weight: float = 1.0,
    success_reward: float | None = None,
    scale: bool = True,
    epsilon: float = EPSILON,
    cross_steps: bool = False,
    penalty: Penalty = "advantage",
) -> Advantages:
    """G2PO's advantage. Needs `state` and `success`.

    Args:
        batch: the rollout.
        gamma: discount per step of the outcome.
        step_weight: w, weight of the node and the edge term.
        success_reward: R*; by default the highest reward of a success in the group, 1 where none is above 0.
        scale: whether to divide by the standard deviations, in all terms.
        epsilon: added to the standard deviations.
        cross_steps: whether the statistics of A^E count a trajectory once per step.
        penalty: where the penalties of the steps go, see `penalties`.
    """
    check_discount("g2po", gamma)
    batch.require("g2po", "success")
    states = state_groups(batch, "g2po")
    V, V_next = state_values(batch, states, gamma, success_reward)
    NC = normalise(before_normalisation(V_next, batch, penalty), states, scale=scale, epsilon=epsilon)
    EC = normalise(V_next - V, step_groups(batch), scale=scale, epsilon=epsilon)
    A_E = episode_term(batch, scale=scale, epsilon=epsilon, cross_steps=cross_steps, penalty=penalty)
    values = after_normalisation(A_E + step_weight * (NC + EC), batch, penalty)
    metrics = grouping_metrics("g2po", states) | {"g2po/value": float(V.mean()), "g2po/gain": float((V_next - V).mean())}
    return Advantages(values=values, base=values, metrics=metrics)


def state_values(batch: RolloutSteps, states: Tensor, gamma: float, success_reward: float | None) -> tuple[Tensor, Tensor]:
    """Return [S] the value of the state before each step, and after it."""
    assert batch.success is not None
    to_go = steps_to_go(batch)
    V = group_means(gamma ** to_go.double() * batch.rewards[batch.trajectory], states)
    final = torch.where(batch.success[batch.trajectory], success_rewards(batch, success_reward), 0.0)
    return V, torch.where(to_go == 1, final, V.roll(-1))
