"""EMPG on padded token rows, as the trainers of other frameworks hold their batches.

Vocabulary (one letter, one axis):
    B   rows of the batch, one per episode unless `trajectory` says otherwise
    T   positions of a row, padding included
    S   steps: the maximal runs of generated positions in a row

Rules:
    - A step is a run of ones in the mask of generated tokens; its entropy is the mean over the run.
    - `modulate` normalizes over all steps of the batch: call it where the whole batch is, before it is split, or exchange the
      `RowSteps.table` of all processes.
    - Without scaling, bonus and centring (k = zeta = 0, center = False) the result equals the base advantages.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from empg_gym.errors import ConfigError
from empg_gym.trainers.algorithms.empg import Center, modulate_with_stats

Table = list[list[float]]
"""Four columns of numbers, one entry per step: advantage, entropy, trajectory and index of the step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EMPGOptions:
    """Options of the modulation; see `empg_gym.trainers.algorithms.empg.modulate`."""

    k: float = 1.0
    k_future: float = 1.0
    zeta: float = 0.1
    center: bool | Center = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSteps:
    """The steps of a batch of rows.

    Example:
        A row with the mask 0 1 1 0 1 has two steps; `of_token` is then -1 0 0 -1 1.
    """

    advantages: Tensor
    """[S] float64 base advantage: the mean over the step's tokens."""
    entropies: Tensor
    """[S] float64 mean entropy of the step's tokens."""
    trajectory: Tensor
    """[S] int64"""
    step: Tensor
    """[S] int64 index of the step in its trajectory."""
    of_token: Tensor
    """[B, T] int64 index into S; -1 where nothing was generated."""

    @classmethod
    def of(cls, advantages: Tensor, entropies: Tensor, mask: Tensor, *, trajectory: Tensor | None = None) -> RowSteps:
        """Find the steps.

        Args:
            advantages: [B] or [B, T]
            entropies: [B, T] per generated token, in nats; other positions are ignored.
            mask: [B, T] nonzero where the model generated the token.
            trajectory: [B] id of each row's trajectory; rows of one trajectory are in the order of its steps. None: a row each.

        Raises:
            ConfigError: the shapes contradict each other.
        """
        generated = mask.bool()
        rows = generated.shape[0]
        if entropies.shape != generated.shape or advantages.shape not in ((rows,), generated.shape):
            raise ConfigError(
                "expected advantages of shape [B] or [B, T] and entropies and mask of shape [B, T], not "
                f"{tuple(advantages.shape)}, {tuple(entropies.shape)} and {tuple(mask.shape)}"
            )
        starts = generated.clone()
        starts[:, 1:] &= ~generated[:, :-1]
        number = starts.flatten().cumsum(0).view_as(generated) - 1  # steps before and including this position, over the whole batch
        of_token = torch.where(generated, number, -1)
        row = starts.nonzero()[:, 0]
        ids = torch.arange(rows, device=row.device) if trajectory is None else trajectory.to(row.device)
        of_step = ids[row] if len(row) else row
        spread = advantages if advantages.dim() == 2 else advantages[:, None].expand_as(generated)
        return cls(
            advantages=_means(spread, of_token, len(row)),
            entropies=_means(entropies, of_token, len(row)),
            trajectory=of_step,
            step=_positions(of_step),
            of_token=of_token,
        )

    @property
    def table(self) -> Table:
        """The steps as plain numbers, for an exchange between processes."""
        return [column.tolist() for column in (self.advantages, self.entropies, self.trajectory, self.step)]

    def spread(self, values: Tensor) -> Tensor:
        """Return [B, T] with each step's value at its tokens, and 0 elsewhere."""
        if not len(values):
            return torch.zeros(self.of_token.shape, dtype=values.dtype, device=values.device)
        return torch.where(self.of_token >= 0, values[self.of_token.clamp(min=0)], 0.0)


def modulate_rows(
    advantages: Tensor,
    entropies: Tensor,
    mask: Tensor,
    options: EMPGOptions,
    *,
    trajectory: Tensor | None = None,
    gather: Callable[[Table], list[Table]] | None = None,
    process: int = 0,
) -> tuple[Tensor, dict[str, float]]:
    """Return EMPG's advantages of a batch of rows, and statistics.

    Args:
        advantages: [B] or [B, T]
        entropies: [B, T]
        mask: [B, T] nonzero where the model generated the token.
        options: of the modulation.
        trajectory: [B] id of each row's trajectory; None: a row each.
        gather: returns the tables of all processes, in their order; None where this process has the whole batch.
        process: index of this process in what `gather` returns.

    Returns:
        [B, T] in the dtype of `advantages`, and `EMPGStats` as `empg/*`.

    Raises:
        ConfigError: shapes contradict each other, or an option is out of range.
        TrainingError: an advantage is not finite, or an entropy is infinite.
    """
    steps = RowSteps.of(advantages, entropies, mask, trajectory=trajectory)
    tables = [steps.table] if gather is None else gather(steps.table)
    sizes = [len(table[0]) for table in tables]
    base, entropy, ids, positions = (
        torch.tensor([value for table in tables for value in table[column]], dtype=torch.float64) for column in range(4)
    )
    origin = torch.arange(len(tables)).repeat_interleave(torch.tensor(sizes))
    ids = (origin * (ids.max() + 1) if len(ids) else origin) + ids  # trajectories of different processes have different ids
    own = slice(sum(sizes[:process]), sum(sizes[: process + 1]))
    values, stats = modulate_with_stats(base, entropy, ids.long(), positions.long(), **asdict(options))
    local = values[own].to(device=advantages.device, dtype=advantages.dtype)
    return steps.spread(local), {f"empg/{name}": value for name, value in asdict(stats).items()}


def options_of(given: EMPGOptions | dict[str, Any] | None) -> EMPGOptions:
    """Return options given as such, as a mapping (from a configuration file) or not at all.

    Raises:
        ConfigError: the mapping has an unknown key.
    """
    if isinstance(given, EMPGOptions):
        return given
    try:
        return EMPGOptions(**(given or {}))
    except TypeError:
        known = ", ".join(EMPGOptions.__dataclass_fields__)
        raise ConfigError(f"the options of EMPG are {known}; got {', '.join(map(str, given or {}))}") from None


def _means(values: Tensor, of_token: Tensor, count: int) -> Tensor:
    """Return [S] float64 means of [B, T] values over the tokens of each step."""
    kept = of_token >= 0
    sums = torch.zeros(count, dtype=torch.float64, device=values.device)
    sizes = torch.zeros(count, dtype=torch.float64, device=values.device)
    chosen = values[kept].double()
    sums.index_add_(0, of_token[kept], chosen)
    sizes.index_add_(0, of_token[kept], torch.ones_like(chosen))
    return sums / sizes


def _positions(trajectory: Tensor) -> Tensor:
    """Return how many earlier entries have the same id, for each entry."""
    if not len(trajectory):
        return trajectory
    order = torch.argsort(trajectory, stable=True)
    ordered = trajectory[order]
    index = torch.arange(len(ordered), device=ordered.device)
    new = torch.ones_like(ordered, dtype=torch.bool)
    new[1:] = ordered[1:] != ordered[:-1]
    first = torch.where(new, index, 0).cummax(0).values
    positions = torch.empty_like(order)
    positions[order] = index - first
    return positions
