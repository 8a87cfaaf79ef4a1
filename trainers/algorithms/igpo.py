"""IGPO: a step is worth the information it gains about the gold answer (Wang et al. 2025, arXiv 2510.14967).

    l_t   = mean log-probability of the gold answer's tokens before step t, under the old policy
    ig_t  = l_{t+1} - l_t                            every step but the last one of its trajectory; basis "prob": exp(l_{t+1}) - exp(l_t)
    r~    = z-score of the group's gains at all steps but the last, z-score of its outcomes at the last; z = (x - mean) / std
    A_t   = sum_{k >= t} gamma^(k-t) r~_k - p_t      p_t is the penalty of step t

The rules are those of the authors' updated release (2026-02), with the options of its training script as defaults: log-probabilities,
gains and outcomes normalised separately, gamma 1.

Decided here:
    - Step indices are carried, never inferred from rewards: the gain of (i, t) needs the gold log-probabilities of (i, t) and (i, t + 1).
      (The release marks the ends of turns by rewards other than 0, so that a normalised gain of 0 merges two turns.)
    - A gain that is unknown (NaN) enters no statistic and adds 0; `igpo/known_gains` is the share of the others. (The release drops all
      gains of a rollout without a word where their number is not turns - 1.) A batch without any gold log-probability is an error.
    - The last step gets the outcome, whether it answered or a limit ended the episode.
    - std = sqrt(var + 1e-8) + 1e-6 with the population's variance, as released. Equal values, and a single one, give exactly 0.
    - "joint" normalises gains and outcomes as one set. With basis "log" their scales differ, and the authors exclude it: an error.
    - There is no centring after the sum. With gamma = 1 the sums grow with the number of steps to go.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from empg_gym.errors import ConfigError
from empg_gym.trainers.algorithms import register_advantage
from empg_gym.trainers.algorithms.base import Advantages, RolloutSteps
from empg_gym.trainers.algorithms.checks import check_choice, check_discount, require_finite_steps
from empg_gym.trainers.algorithms.credit import discounted_returns, group_means, normalise, step_groups, steps_to_go
from empg_gym.trainers.algorithms.distinct import on_distinct_steps
from empg_gym.trainers.algorithms.penalties import Penalty, after_normalisation, check_trajectory_penalty, penalised_rewards
from empg_gym.trainers.algorithms.unique import unique_steps

Normalisation = Literal["separate", "joint"]
Basis = Literal["log", "prob"]


@register_advantage("igpo", needs=["gold_logprobs"])
@on_distinct_steps
def igpo(
    batch: RolloutSteps,
    *,
    normalisation: Normalisation = "separate",
    basis: Basis = "log",
    gamma: float = 1.0,
    penalty: Penalty = "advantage",
) -> Advantages:
    """Return IGPO's advantage of every step. It needs `gold_logprobs`.

    Args:
        batch: the rollout batch.
        normalisation: "separate" for gains and outcomes on their own, "joint" for both as one set.
        basis: "log" for differences of log-probabilities, "prob" for those of probabilities.
        gamma: discount per step, from 0 to 1.
        penalty: where the penalties of the steps go: "advantage" or "reward", see `penalties`.

    Raises:
        ConfigError: the batch has no gold log-probabilities, or an option is unknown or out of range.
        TrainingError: a reward is not finite, or a gold log-probability is infinite.
    """
    _check(normalisation, basis, gamma)
    check_trajectory_penalty(penalty)
    batch.require("igpo", "gold_logprobs")
    gold = batch.gold_logprobs
    assert gold is not None
    require_finite_steps("gold log-probability", gold, batch.trajectory, batch.step, allow_nan=True)
    if bool(gold.isnan().all()):
        raise ConfigError("igpo needs RolloutSteps.gold_logprobs, and this batch has NaN for every step")

    following = unique_steps(batch.trajectory, batch.step).next
    level = gold.exp() if basis == "prob" else gold
    gain = torch.where(following >= 0, level[following] - level, torch.nan)
    known, last = ~gain.isnan(), steps_to_go(batch) == 1

    outcome = penalised_rewards(batch, penalty)
    gains, outcomes = gain[known], outcome
    gain_ids, outcome_ids = step_groups(batch)[known], batch.groups
    if normalisation == "joint":
        both = _z(torch.cat([gains, outcomes]), torch.cat([gain_ids, outcome_ids]))
        gains, outcomes = both[: len(gains)], both[len(gains) :]
    else:
        gains, outcomes = _z(gains, gain_ids), _z(outcomes, outcome_ids)

    r = torch.zeros_like(gold)
    r[known] = gains
    r[last] = outcomes[batch.trajectory[last]]
    values = after_normalisation(discounted_returns(replace(batch, step_rewards=r), gamma), batch, penalty)
    return Advantages(values=values, base=values, metrics=_metrics(gain, last))


def _z(values: Tensor, ids: Tensor) -> Tensor:
    """Return the z-score of each value among those that share its id."""
    centred = normalise(values, ids, scale=False)
    return centred / ((group_means(centred.square(), ids) + 1e-8).sqrt() + 1e-6)


def _metrics(gain: Tensor, last: Tensor) -> dict[str, float]:
    known = gain[~gain.isnan()]
    expected = int((~last).sum())
    metrics = {"igpo/known_gains": len(known) / expected} if expected else {}
    return metrics | (
        {"igpo/gain_mean": float(known.mean()), "igpo/gain_positive": float((known > 0).double().mean())} if len(known) else {}
    )


def _check(normalisation: Normalisation, basis: Basis, gamma: float) -> None:
    check_choice("normalisation of igpo", normalisation, Normalisation)
    check_choice("basis of igpo", basis, Basis)
    check_discount("igpo", gamma)
    if normalisation == "joint" and basis == "log":
        raise ConfigError('igpo: log-probabilities and outcomes have different scales; use normalisation = "separate" or basis = "prob"')
