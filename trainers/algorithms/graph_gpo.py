"""GraphGPO: a step is as good as the state it reaches is close to success (arXiv 2605.26684).

The trajectories of a group are merged into one directed graph of states. Its distances are those of any walked path:

    s'_t  = state after the step; the sentinel "success" after the last step of a successful trajectory
    d(v)  = number of edges on the shortest path from v to "success"; d("success") = 0
            1 + the greatest finite distance in the group where no path leads there
    r_t   = R* gamma^d(s'_t)                          or R* gamma^(d(s'_t) - d(s_t) + 1) with `normalize_distance`
    A^G_t = (r_t - mean(r)) / (std(r) + eps)          over the steps of the group that began in the same state, std unbiased
    A_t   = w_E A^E_i + w A^G_t - p_t                 A^E as in GRPO; p_t is the step's penalty

Decided where the paper leaves room:
    - Success is the environment's flag, not a positive reward: a partial score is not success.
    - R* (10 in the released code) is the highest reward of a successful trajectory of the group, or the option `success_reward`. It
      matters only through eps: distances whose r differ by less than eps are not told apart.
    - A failed or cut trajectory ends in an ordinary node, its final state. Others may have passed through it on their way to success.
    - One state id serves the graph and the groups (the released code merges similar texts in the graph only).
    - A step that is alone in its state has A^G = 0; so have all steps of a group without success.
    - The penalty is subtracted at the end, unscaled. With `penalty="return"` it is subtracted from r_t as released: at gamma = 0.1 and
      R* = 10 a penalty of 0.1 then equals the whole reward of a state at distance 2.
    - Distances are optimistic: minima over walked edges, wrong where one id stands for several true states or the world is random.
"""

from __future__ import annotations

import torch
from torch import Tensor

from empg_gym.errors import ConfigError
from empg_gym.trainers.algorithms import register_advantage
from empg_gym.trainers.algorithms.base import Advantages, RolloutSteps
from empg_gym.trainers.algorithms.checks import check_discount
from empg_gym.trainers.algorithms.credit import (
    EPSILON,
    group_sizes,
    grouping_metrics,
    normalise,
    pair_ids,
    step_groups,
    steps_to_go,
    success_rewards,
)
from empg_gym.trainers.algorithms.distinct import on_distinct_steps
from empg_gym.trainers.algorithms.grpo import episode_term
from empg_gym.trainers.algorithms.penalties import Penalty, after_normalisation, before_normalisation


@register_advantage("graph_gpo")
@on_distinct_steps
def graph_gpo(
    batch: RolloutSteps,
    *,
    gamma: float = 0.1,
    normalize_distance: bool = False,
    graph_weight: float = 1.0,
    episode_weight: float = 1.0,
    success_reward: float | None = None,
    scale: bool = True,
    epsilon: float = EPSILON,
    cross_steps: bool = False,
    penalty: Penalty = "advantage",
) -> Advantages:
    """GraphGPO's advantage. Needs `state`, `next_state` and `success`.

    Args:
        batch: the rollout.
        gamma: discount per edge; the authors use 0.1 for ALFWorld, 0.2 for WebShop, 0.8 for Sokoban.
        normalize_distance: whether to judge the distance gained instead of the distance left.
        graph_weight: w, weight of the graph term.
        episode_weight: w_E, weight of GRPO's term; 0 leaves the graph alone.
        success_reward: R*; by default the highest reward of a success in the group, 1 where none is above 0.
        scale: whether to divide by the standard deviations, in both terms.
        epsilon: added to the standard deviations.
        cross_steps: whether the statistics of A^E count a trajectory once per step.
        penalty: where the penalties of the steps go, see `penalties`.
    """
    check_discount("graph_gpo", gamma)
    batch.require("graph_gpo", "state", "next_state", "success")
    if penalty == "reward" and not episode_weight:
        raise ConfigError("penalty = 'reward' of graph_gpo needs an episode_weight: no other term holds the trajectory's reward")
    start, d, d_next = distances(batch)
    hops = d_next - d + 1 if normalize_distance else d_next
    r = before_normalisation(success_rewards(batch, success_reward) * gamma**hops, batch, penalty)
    A_G = normalise(r, start, scale=scale, epsilon=epsilon)
    A_E = episode_term(batch, scale=scale, epsilon=epsilon, cross_steps=cross_steps, penalty=penalty)
    values = after_normalisation(episode_weight * A_E + graph_weight * A_G, batch, penalty)
    metrics = grouping_metrics("graph_gpo", start) | {"graph_gpo/distance": float(d_next.mean())}
    return Advantages(values=values, base=values, metrics=metrics)


def distances(batch: RolloutSteps) -> tuple[Tensor, Tensor, Tensor]:
    """Return [S] the node that each step leaves, d of that node, and d of the node that the step reaches."""
    assert batch.state is not None and batch.next_state is not None and batch.success is not None
    group, groups = group_sizes(step_groups(batch))
    nodes, count = group_sizes(pair_ids(group.repeat(2), torch.cat([batch.state, batch.next_state])))
    start, end = nodes.chunk(2)
    done = len(count)  # one sentinel serves all groups, which share no other node
    end = torch.where((steps_to_go(batch) == 1) & batch.success[batch.trajectory], done, end)

    d = torch.full((done + 1,), torch.inf, dtype=torch.float64, device=start.device)
    d[done] = 0.0
    while not torch.equal(d, nearer := d.scatter_reduce(0, start, d[end] + 1, "amin")):
        d = nearer

    finite = torch.where(d[start].isfinite(), d[start], 0.0)
    furthest = torch.zeros(len(groups), dtype=torch.float64, device=start.device).scatter_reduce(0, group, finite, "amax")
    beyond = furthest[group] + 1
    return start, torch.minimum(d[start], beyond), torch.minimum(d[end], beyond)
