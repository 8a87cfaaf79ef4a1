"""EMPG: entropy-modulated policy gradients (Wang et al. 2025, arXiv 2509.09265).

A policy gradient's size is tied to the policy's uncertainty: for a softmax policy E||grad_z log pi||^2 = 1 - exp(-H_2) (Proposition 1), so
sure steps learn too little and unsure ones too much. EMPG rescales each step's advantage by its entropy and rewards clear next steps.
Equation numbers are the paper's:

    H_t   = mean over the step's generated tokens of the full-vocabulary entropy, in nats
    (12)  Hn_t = (H_t - min H) / (max H - min H + eps)
    (10)  g(H_t) = exp(-k Hn_t) / mean exp(-k Hn)                        scaling: sure steps more, unsure ones less; mean 1
    (11)  f(H_t+1) = exp(-k' Hn_t+1)                                     clarity of the step that followed
    (8)   A_mod(i,t) = A(i) g(H_t) + zeta f(H_t+1)
    (7)   A_final(i,t) = A_mod(i,t) - mean A_mod                         zero mean, no division by a deviation

Decided where the paper leaves room (numbers as in the list of ambiguities in the project's notes on the algorithms):
    1   A last step has no next one and no bonus, whether the task ended or a limit did (as in the authors' pseudo-code).
    2   Minimum, maximum and means run over all steps of the whole rollout batch, before mini-batches are cut; each step counts once,
        not by its tokens. What arrives twice (a row copied as padding) counts once and gets the same value.
    3   zeta is an argument; 0.1 is the authors' default.
    4   Entropies are those of the sampling distribution, at its temperature. Units don't matter: H -> aH + b changes nothing.
    5   Every generated token counts: thought, action and end of turn. The caller takes the mean.
    6   The caller gives entropies of the full vocabulary under the old policy; top-k estimates are bounds, not entropies.
    7   A(i) is the base's: GRPO over trajectories here. It may differ from step to step (a penalty on a step).
    8   Filters come first: a group that is dropped enters no statistic.
    9   A step that generated nothing (entropy NaN) enters no statistic, gets 0, and gives no bonus to the step before it.
    10  The bonus is not tied to success.
    11  Centring is on; `center=False` leaves it out, and with k = zeta = 0 gives the base back bit by bit.
    12  Entropies stay those of the old policy through all epochs on a batch.
No eps stands in the denominator of (10): the mean is at least exp(-k) > 0, and without it g is exactly 1 at k = 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from empg_gym.errors import ConfigError
from empg_gym.trainers.algorithms import get_advantage, register_advantage
from empg_gym.trainers.algorithms.base import Advantages, RolloutSteps

EPS = 1e-8


@dataclass(frozen=True, slots=True, kw_only=True)
class EMPGStats:
    """What the modulation did to a batch. Entropies in nats; every statistic counts each step once."""

    entropy_min: float
    entropy_max: float
    scaling_min: float
    scaling_mean: float
    """Mean of g: 1 up to rounding."""
    scaling_max: float
    bonus_mean: float
    """Mean of zeta * f over all steps; last steps count with 0."""
    clarity_mean: float
    """Mean of f over the steps that have a next one."""
    sign_flips: float
    """Share of steps whose advantage changed its sign."""


def modulate(
    advantages: Tensor,
    entropies: Tensor,
    trajectory_ids: Tensor,
    step_ids: Tensor,
    *,
    k: float = 1.0,
    k_future: float = 1.0,
    zeta: float = 0.1,
    center: bool = True,
) -> Tensor:
    """Return the entropy-modulated advantage of every step, eq. (7).

    One entry a step, rows in any order.

    Args:
        advantages: [S] advantage A(i) of the step's trajectory.
        entropies: [S] mean token entropy of the step; NaN where it generated nothing.
        trajectory_ids: [S] integers; equal ones are one trajectory.
        step_ids: [S] integers; the next step of (i, t) is (i, t + 1), if it is there.
        k: how much the scaling depends on the entropy.
        k_future: the same for the bonus, k' in the paper.
        zeta: weight of the bonus.
        center: whether to subtract the mean over all steps.

    Returns:
        [S] in the dtype of `advantages`.

    Raises:
        ConfigError: arguments of different length, or k, k_future or zeta negative.
    """
    return modulate_with_stats(advantages, entropies, trajectory_ids, step_ids, k=k, k_future=k_future, zeta=zeta, center=center)[0]


def modulate_with_stats(
    advantages: Tensor,
    entropies: Tensor,
    trajectory_ids: Tensor,
    step_ids: Tensor,
    *,
    k: float = 1.0,
    k_future: float = 1.0,
    zeta: float = 0.1,
    center: bool = True,
) -> tuple[Tensor, EMPGStats]:
    """Return what `modulate` returns, and what was done to the batch."""
    _check(advantages, entropies, trajectory_ids, step_ids, k, k_future, zeta)
    result = torch.zeros_like(advantages)
    kept = ~entropies.isnan()
    if not kept.any():
        return result, EMPGStats(**dict.fromkeys(EMPGStats.__dataclass_fields__, 0.0))

    # Each (trajectory, step) once and in sorted order, so that neither copies nor the order of rows can change a bit of the result.
    keys, origin = torch.stack([trajectory_ids[kept], step_ids[kept]], dim=1).unique(dim=0, return_inverse=True)
    A, H = _first(advantages[kept].double(), origin), _first(entropies[kept].double(), origin)

    Hn = (H - H.min()) / (H.max() - H.min() + EPS)  # (12)
    weight = torch.exp(-k * Hn)
    g = weight / weight.mean()  # (10)
    f = torch.exp(-k_future * Hn)  # (11)

    has_next = torch.zeros(len(keys), dtype=torch.bool, device=keys.device)
    has_next[:-1] = (keys[1:, 0] == keys[:-1, 0]) & (keys[1:, 1] == keys[:-1, 1] + 1)
    bonus = torch.where(has_next, zeta * f.roll(-1), 0.0)

    A_mod = A * g + bonus  # (8)
    A_final = A_mod - A_mod.mean() if center else A_mod  # (7)

    result[kept] = A_final[origin].to(result.dtype)
    stats = EMPGStats(
        entropy_min=float(H.min()),
        entropy_max=float(H.max()),
        scaling_min=float(g.min()),
        scaling_mean=float(g.mean()),
        scaling_max=float(g.max()),
        bonus_mean=float(bonus.mean()),
        clarity_mean=float(f.roll(-1)[has_next].mean()) if has_next.any() else 0.0,
        sign_flips=float((A * A_final < 0).double().mean()),
    )
    return result, stats


def _first(values: Tensor, origin: Tensor) -> Tensor:
    """Return for each unique key the value of its first row."""
    count = int(origin.max()) + 1
    rows = torch.arange(len(origin), device=origin.device)
    first = torch.full((count,), len(origin), device=origin.device).scatter_reduce(0, origin, rows, "amin")
    return values[first]


def _check(A: Tensor, H: Tensor, trajectory: Tensor, step: Tensor, k: float, k_future: float, zeta: float) -> None:
    if not A.shape == H.shape == trajectory.shape == step.shape or A.dim() != 1:
        shapes = ", ".join(str(tuple(item.shape)) for item in (A, H, trajectory, step))
        raise ConfigError(f"advantages, entropies, trajectory_ids and step_ids must be vectors of one length, not of shapes {shapes}")
    if min(k, k_future, zeta) < 0:
        raise ConfigError(f"k, k_future and zeta must be at least 0, not {k}, {k_future}, {zeta}")


@register_advantage("empg")
def empg(
    batch: RolloutSteps,
    *,
    k: float = 1.0,
    k_future: float = 1.0,
    zeta: float = 0.1,
    center: bool = True,
    base: str = "grpo",
    base_options: Mapping[str, Any] | None = None,
) -> Advantages:
    """EMPG on top of any registered advantage that gives A(i)."""
    given = get_advantage(base, base_options)(batch)
    values, stats = modulate_with_stats(
        given.values, batch.entropies, batch.trajectory, batch.step, k=k, k_future=k_future, zeta=zeta, center=center
    )
    metrics = given.metrics | {f"empg/{name}": value for name, value in asdict(stats).items()}
    return Advantages(values=values, base=given.values, metrics=metrics)
