"""EMPG: entropy-modulated policy gradients (Wang et al. 2025, arXiv 2509.09265).

The size of a policy gradient is tied to the policy's uncertainty: for a softmax policy E||grad_z log pi||^2 = 1 - exp(-H_2)
(Proposition 1), so confident steps learn too little and uncertain ones too much. EMPG rescales each step's advantage by its entropy and
rewards steps that lead to a clear next step. Equation numbers are the paper's:

    H_t   = mean over the step's generated tokens of the full-vocabulary entropy, in nats
    (12)  Hn_t = (H_t - min H) / (max H - min H + eps)
    (10)  g(H_t) = exp(-k Hn_t) / mean exp(-k Hn)                        scaling: confident steps up, uncertain ones down; mean 1
    (11)  f(H_t+1) = exp(-k' Hn_t+1)                                     clarity of the step that followed
    (8)   A_mod(i,t) = A(i) g(H_t) + zeta f(H_t+1)
    (7)   A_final(i,t) = A_mod(i,t) - mean A_mod                         zero mean, no division by the standard deviation

Decided where the paper leaves room:
    1   A last step has no next step and no bonus, whether the task ended or a limit was hit (as in the authors' pseudo-code).
    2   Minimum, maximum and means run over all steps of the whole rollout batch, before it is split into mini-batches; each step counts
        once, regardless of its tokens. An entry that occurs twice (a row copied as padding) counts once and gets the same value.
    3   zeta is an argument; 0.1 is the authors' default.
    4   Entropies are those of the sampling distribution, at its temperature. Units don't matter: H -> aH + b changes nothing.
    5   Every generated token counts: thought, action and end of turn. The caller takes the mean.
    6   The caller passes entropies of the full vocabulary under the old policy; top-k estimates are bounds, not entropies.
    7   A(i) is the base advantage: GRPO over trajectories by default. It may differ from step to step (a penalty on a step, GiGPO).
    8   Groups in which all rewards are equal are kept, as in the paper. `uninformative="drop"` gives their steps 0 and takes them out of
        every statistic of this file, which is DAPO's order: filter before the statistics. A group of one is not dropped.
    9   A step that generated nothing (entropy NaN) enters no statistic, gets 0, and gives no bonus to the step before it. Any other value
        that is not finite is refused with the name of its step.
    10  The bonus is not tied to success.
    11  Centring is on; `center=False` switches it off, and with k = zeta = 0 the result equals the base bit by bit.
    12  Entropies stay those of the old policy through all epochs on a batch.
    13  The denominator of (10) has no eps: the mean is at least exp(-k) > 0, and without eps g is exactly 1 at k = 0.

The mean of (7) counts steps, so long trajectories weigh more. Where failures are longer than successes, mean A_mod is negative, and
centring raises every step by its size, including those of all-fail groups (A = 0). `empg/shift_failed` measures it;
`uninformative="drop"` and `center="trajectory"` (each trajectory counts once) are the remedies. See docs/algorithms/empg.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from empg_gym.errors import ConfigError
from empg_gym.trainers.algorithms import get_advantage, register_advantage
from empg_gym.trainers.algorithms.base import Advantages, RolloutSteps
from empg_gym.trainers.algorithms.checks import check_choice, require_finite_steps
from empg_gym.trainers.algorithms.credit import group_sizes
from empg_gym.trainers.algorithms.groups import GroupKind, group_kinds
from empg_gym.trainers.algorithms.unique import UniqueSteps, unique_steps

EPS = 1e-8
Center = Literal["step", "trajectory"]
Uninformative = Literal["keep", "drop"]


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
    """Mean of f over the steps that have a next step."""
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
    center: bool | Center = True,
) -> Tensor:
    """Return the entropy-modulated advantage of every step, eq. (7).

    One entry per step, in any order.

    Args:
        advantages: [S] advantage A(i) of the step's trajectory.
        entropies: [S] mean token entropy of the step; NaN where it generated nothing.
        trajectory_ids: [S] integers; equal ones are one trajectory.
        step_ids: [S] integers; the next step of (i, t) is (i, t + 1), if present.
        k: strength of the scaling; 0 leaves the bonus only.
        k_future: strength of the bonus's dependence on the entropy, k' in the paper.
        zeta: weight of the bonus; 0 leaves the scaling only.
        center: the mean to subtract: over all steps (True or "step"), over trajectories of the mean over their steps ("trajectory"), or
            none (False).

    Returns:
        [S] in the dtype of `advantages`.

    Raises:
        ConfigError: arguments of different length, an unknown `center`, or k, k_future or zeta negative or not finite.
        TrainingError: an advantage is not finite, or an entropy is infinite.
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
    center: bool | Center = True,
) -> tuple[Tensor, EMPGStats]:
    """Return the result of `modulate` and statistics of the modulation."""
    _check_options(k, k_future, zeta, center)
    _check_steps(advantages, entropies, trajectory_ids, step_ids)
    result = torch.zeros_like(advantages)
    kept = ~entropies.isnan()
    if not kept.any():
        return result, EMPGStats(**dict.fromkeys(EMPGStats.__dataclass_fields__, 0.0))

    # Each (trajectory, step) once and in sorted order, so that neither copies nor the order of entries can change a bit of the result.
    steps = unique_steps(trajectory_ids[kept], step_ids[kept])
    A, H = advantages[kept].double()[steps.first], entropies[kept].double()[steps.first]

    Hn = (H - H.min()) / (H.max() - H.min() + EPS)  # (12)
    weight = torch.exp(-k * Hn)
    g = weight / weight.mean()  # (10)
    f = torch.exp(-k_future * Hn)  # (11)

    has_next = steps.next >= 0
    bonus = torch.where(has_next, zeta * f[steps.next], 0.0)

    A_mod = A * g + bonus  # (8)
    A_final = A_mod - _mean(A_mod, steps, center)  # (7)

    result[kept] = A_final[steps.origin].to(result.dtype)
    stats = EMPGStats(
        entropy_min=float(H.min()),
        entropy_max=float(H.max()),
        scaling_min=float(g.min()),
        scaling_mean=float(g.mean()),
        scaling_max=float(g.max()),
        bonus_mean=float(bonus.mean()),
        clarity_mean=float(f[steps.next][has_next].mean()) if has_next.any() else 0.0,
        sign_flips=float((A * A_final < 0).double().mean()),
    )
    return result, stats


def _mean(A_mod: Tensor, steps: UniqueSteps, center: bool | Center) -> Tensor:
    """Return the scalar that centring subtracts."""
    if center is False:
        return torch.zeros((), dtype=A_mod.dtype, device=A_mod.device)
    if center != "trajectory":
        return A_mod.mean()
    trajectory, lengths = group_sizes(steps.trajectory)
    return (A_mod / lengths[trajectory]).sum() / len(lengths)


def _check_options(k: float, k_future: float, zeta: float, center: bool | Center) -> None:
    if not all(math.isfinite(value) and value >= 0 for value in (k, k_future, zeta)):
        raise ConfigError(f"k, k_future and zeta must be finite and at least 0, not {k}, {k_future}, {zeta}")
    if not isinstance(center, bool):
        check_choice("center", center, Center)


def _check_steps(A: Tensor, H: Tensor, trajectory: Tensor, step: Tensor) -> None:
    if not A.shape == H.shape == trajectory.shape == step.shape or A.dim() != 1:
        shapes = ", ".join(str(tuple(item.shape)) for item in (A, H, trajectory, step))
        raise ConfigError(f"advantages, entropies, trajectory_ids and step_ids must be vectors of one length, not of shapes {shapes}")
    require_finite_steps("advantage", A, trajectory, step)
    require_finite_steps("entropy", H, trajectory, step, allow_nan=True)


@register_advantage("empg")
def empg(
    batch: RolloutSteps,
    *,
    k: float = 1.0,
    k_future: float = 1.0,
    zeta: float = 0.1,
    center: bool | Center = True,
    uninformative: Uninformative = "keep",
    base: str = "grpo",
    base_options: Mapping[str, Any] | None = None,
) -> Advantages:
    """EMPG on top of any advantage.

    Args:
        batch: the rollout batch.
        k: strength of the scaling; 0 leaves the bonus only.
        k_future: strength of the bonus's dependence on the entropy.
        zeta: weight of the bonus; 0 leaves the scaling only.
        center: see `modulate`.
        uninformative: "drop" gives steps of groups with equal rewards 0 and excludes them from every statistic here; "keep" treats them
            like others. The base sees the whole batch in either case.
        base: a registered advantage, or `module:object`.
        base_options: options of the base.

    Returns:
        The modulated advantages, with the base's. Its metrics are those of the base, `EMPGStats` as `empg/*`, and the mean A_final over
        all steps (`empg/shift`) and over the steps of all-fail (`empg/shift_failed`), all-success (`empg/shift_solved`) and other groups
        (`empg/shift_mixed`). A kind of group that the batch lacks has no metric.

    Raises:
        ConfigError: an unknown base or option, or an option out of range.
        TrainingError: a reward or base advantage is not finite, or an entropy is infinite.
    """
    check_choice("treatment of uninformative groups", uninformative, Uninformative)
    given = get_advantage(base, base_options)(batch)
    require_finite_steps("entropy", batch.entropies, batch.trajectory, batch.step, allow_nan=True)
    kinds = group_kinds(batch)[batch.trajectory]
    entropies = batch.entropies
    if uninformative == "drop":
        entropies = entropies.masked_fill(kinds != GroupKind.MIXED, math.nan)
    values, stats = modulate_with_stats(
        given.values, entropies, batch.trajectory, batch.step, k=k, k_future=k_future, zeta=zeta, center=center
    )
    metrics = given.metrics | {f"empg/{name}": value for name, value in asdict(stats).items()} | _shifts(values, batch, kinds)
    return Advantages(values=values, base=given.values, metrics=metrics)


def _shifts(A_final: Tensor, batch: RolloutSteps, kinds: Tensor) -> dict[str, float]:
    """Return the mean A_final over steps that generated something, by kind of their group."""
    first = unique_steps(batch.trajectory, batch.step).first
    first = first[~batch.entropies[first].isnan()]
    values, kinds = A_final[first].double(), kinds[first]
    parts = {"empg/shift": values} | {f"empg/shift_{kind.name.lower()}": values[kinds == kind] for kind in GroupKind}
    return {name: float(part.mean()) for name, part in parts.items() if len(part)}
