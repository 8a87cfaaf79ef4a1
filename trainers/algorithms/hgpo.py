"""HGPO: longer shared histories are trusted more (He et al. 2026, arXiv 2602.22817).

A step is compared with the steps that share its state, with those that share its last two states, and so on:

    G_t   = sum over k >= t of gamma^(k-t) r_k
    a_k,t = (G_t - mean(G)) / (std(G) + eps)          over the steps of the group with equal (s_t-k+1, ..., s_t), std with ddof 0
    A_t   = sum_k w_k a_k,t / (sum_k w_k + eps) - p_t                     k = 1, ..., min(K + 1, t + 1)
    w_k   = (k + 1)^alpha                                                 p_t is the step's penalty

Decided where the paper leaves room:
    - `weights="code"`: the authors' code starts k at 1 with weight 2^alpha, the paper with weight 1 ("paper"). The numbers in the paper
      come from the code, so it is the default.
    - `skip="group"`: a level counts for a step unless the step is alone in it or all returns in it are equal. The authors' code also drops
      a level for the single step that lies exactly on the mean ("item"), which moves that step away from 0: its other levels then weigh
      more. Not the default.
    - There is no episode term, as released: a step without a level has A = -p_t. `episode=True` mixes in A^E of GRPO as level 0 with
      weight 1 ("base_group").
    - K is the number of earlier states, `history`; the authors set it to the number of past steps in the prompt. Contexts are states
      only, no actions. The first K steps have fewer levels, whose weights are renormalised.
    - The context of a branch's first steps reaches into the trajectory that it was forked from.
    - Scaling, penalties and state ids are as in `gigpo`.
"""

from __future__ import annotations

from typing import Literal

import torch

from empg_gym.errors import ConfigError
from empg_gym.trainers.algorithms import register_advantage
from empg_gym.trainers.algorithms.base import Advantages, RolloutSteps
from empg_gym.trainers.algorithms.checks import check_choice, check_discount
from empg_gym.trainers.algorithms.credit import EPSILON, context_ids, discounted_returns, grouping_metrics, normalise, state_groups, varies
from empg_gym.trainers.algorithms.distinct import on_distinct_steps
from empg_gym.trainers.algorithms.grpo import episode_term
from empg_gym.trainers.algorithms.penalties import Penalty, after_normalisation, before_normalisation

Weights = Literal["code", "paper"]
Skip = Literal["group", "item"]


@register_advantage("hgpo")
@on_distinct_steps
def hgpo(
    batch: RolloutSteps,
    *,
    history: int = 2,
    alpha: float = 1.0,
    gamma: float = 0.95,
    weights: Weights = "code",
    skip: Skip = "group",
    episode: bool = False,
    scale: bool = True,
    epsilon: float = EPSILON,
    cross_steps: bool = False,
    penalty: Penalty = "advantage",
) -> Advantages:
    """HGPO's advantage. Needs `state`.

    Args:
        batch: the rollout.
        history: K, the number of earlier states in the longest context.
        alpha: how much more a longer context weighs; 0 weighs all levels alike.
        gamma: discount of the step rewards.
        weights: (k + 1)^alpha ("code") or k^alpha ("paper") for the context of k states.
        skip: which levels of a step don't count, see above.
        episode: whether to mix in GRPO's term as level 0.
        scale: whether to divide by the standard deviations.
        epsilon: added to the standard deviations and to the sum of weights.
        cross_steps: whether the statistics of the episode term count a trajectory once per step.
        penalty: where the penalties of the steps go, see `penalties`.
    """
    if history < 0:
        raise ConfigError(f"history of hgpo must be at least 0, not {history}")
    check_discount("hgpo", gamma)
    check_choice("weights of hgpo", weights, Weights)
    check_choice("skip of hgpo", skip, Skip)
    if penalty == "reward" and not episode:
        raise ConfigError("penalty = 'reward' of hgpo needs episode = true: no other term holds the trajectory's reward")
    states = state_groups(batch, "hgpo")
    G = before_normalisation(discounted_returns(batch, gamma), batch, penalty)
    A_E = episode_term(batch, scale=scale, epsilon=epsilon, cross_steps=cross_steps, penalty=penalty)
    total, weight = (A_E, torch.ones_like(G)) if episode else (torch.zeros_like(G), torch.zeros_like(G))
    levels = torch.zeros_like(G)
    for k, context in enumerate(context_ids(batch, states, history + 1), start=1):
        a = normalise(G, context, scale=scale, ddof=0, epsilon=epsilon)
        counts = (context >= 0) & (a != 0 if skip == "item" else varies(G, context))
        w = (k + 1.0 if weights == "code" else float(k)) ** alpha
        total = total + torch.where(counts, w * a, 0.0)
        weight = weight + w * counts
        levels = levels + counts
    values = after_normalisation(total / (weight + epsilon), batch, penalty)
    metrics = grouping_metrics("hgpo", states) | {"hgpo/levels": float(levels.mean())}
    return Advantages(values=values, base=values, metrics=metrics)
