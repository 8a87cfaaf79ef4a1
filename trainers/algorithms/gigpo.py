"""GiGPO: a step is also compared with the other steps that began in the same state (Feng et al. 2025, arXiv 2505.10978).

    G_t   = sum over k >= t of gamma^(k-t) r_k                    discounted return of the step rewards
    A^E_i = (R_i - mean(R)) / (std(R) + eps)                      over the trajectories of the group, as in GRPO
    A^S_t = (G_t - mean(G)) / (std(G) + eps)                      over the steps of the group that began in the same state, std unbiased
    A_t   = A^E_i + w A^S_t - p_t                                 p_t is the step's penalty

Decided where the paper leaves room:
    - States are equal inside a task group only. How their ids are made (exact key, equal or similar texts) is decided where the batch is
      built: `states.state_ids`.
    - A trajectory that visits a state twice counts twice. A step that is alone in its state has A^S = 0.
    - `scale=False` omits both divisions ("mean_norm", which the authors use for WebShop; True is "mean_std_norm", for ALFWorld and Search).
    - The penalty is subtracted at the end, unscaled. With `penalty="return"` it is subtracted from G_t of the offending step after
      discounting, so that it never reaches earlier steps, and from the step's score in A^E with `cross_steps`: verl-agent's placement.
    - A group in which every episode succeeded still has a step term: shorter is better. Filters that drop such groups drop it too.
    - In a branched batch a shared step counts once, with the return of the trajectory that generated it.
"""

from __future__ import annotations

from empg_gym.trainers.algorithms import register_advantage
from empg_gym.trainers.algorithms.base import Advantages, RolloutSteps
from empg_gym.trainers.algorithms.checks import check_discount
from empg_gym.trainers.algorithms.credit import EPSILON, discounted_returns, grouping_metrics, normalise, state_groups
from empg_gym.trainers.algorithms.distinct import on_distinct_steps
from empg_gym.trainers.algorithms.grpo import episode_term
from empg_gym.trainers.algorithms.penalties import Penalty, after_normalisation, before_normalisation


@register_advantage("gigpo")
@on_distinct_steps
def gigpo(
    batch: RolloutSteps,
    *,
    gamma: float = 0.95,
    step_weight: float = 1.0,
    scale: bool = True,
    epsilon: float = EPSILON,
    cross_steps: bool = False,
    penalty: Penalty = "advantage",
) -> Advantages:
    """GiGPO's advantage. Needs `state`.

    Args:
        batch: the rollout.
        gamma: discount of the step rewards.
        step_weight: w, weight of the step term.
        scale: whether to divide by the standard deviations, in both terms.
        epsilon: added to the standard deviations.
        cross_steps: whether the statistics of A^E count a trajectory once per step.
        penalty: where the penalties of the steps go, see `penalties`.
    """
    check_discount("gigpo", gamma)
    states = state_groups(batch, "gigpo")
    A_E = episode_term(batch, scale=scale, epsilon=epsilon, cross_steps=cross_steps, penalty=penalty)
    G = before_normalisation(discounted_returns(batch, gamma), batch, penalty)
    A_S = normalise(G, states, scale=scale, epsilon=epsilon)
    values = after_normalisation(A_E + step_weight * A_S, batch, penalty)
    return Advantages(values=values, base=values, metrics=grouping_metrics("gigpo", states))
