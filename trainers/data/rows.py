"""Token rows: the tokens that the model read and generated, ready for a forward pass. Token in, token out: nothing is tokenised here.

Rules:
    - A row is the concatenation of the prompt and response ids of its steps; `generated` marks the response ids, end of turn included.
    - The generated tokens of all rows have one flat order, row after row: the axis N. Values per generated token (log-probabilities,
      advantages) are flat vectors, and `MicroBatch.flat` indexes into them.
    - A micro-batch holds whole rows, one after the other without padding, with at most `token_budget` tokens (a longer row is a micro-batch
      by itself). Every row appears once. For a model that must pad them, rows of similar length share a micro-batch, and the budget
      includes the padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from empg_gym.errors import DataError
from empg_gym.trajectory import Step, Trajectory


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRow:
    """One row of a trajectory.

    Example:
        A prompt of three tokens, a response of two, an observation of one, a response of one::

            TokenRow(ids=[5, 6, 7, 20, 2, 8, 2], generated=[0, 0, 0, 1, 1, 0, 1], step=[0, 0, 0, 0, 0, 1, 1], trajectory=4)
    """

    ids: Tensor
    """[L] int64"""
    generated: Tensor
    """[L] bool"""
    step: Tensor
    """[L] int64, index of the step among the trajectory's own that the token belongs to; 0 for the context of a branch."""
    trajectory: int
    """Position of the trajectory in the batch."""

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroBatch:
    """Rows one after the other, with the positions of their generated tokens.

    Example:
        A row of three tokens whose last two were generated, then a row of two tokens whose last one was::

            MicroBatch(ids=[5, 20, 2, 6, 2], starts=[0, 3, 5], longest=3, position=[1, 2, 4], row=[0, 0, 1], flat=[0, 1, 2])
    """

    ids: Tensor
    """[T] int64"""
    starts: Tensor
    """[B + 1] int32, index of each row's first token; the last entry is T."""
    longest: int
    """Length of the longest row."""
    position: Tensor
    """[n] index into T of each generated token; never the first of its row."""
    row: Tensor
    """[n] its row, an index into B."""
    flat: Tensor
    """[n] its index on the axis N."""

    def to(self, device: torch.device) -> MicroBatch:
        """Return the micro-batch on another device; `flat` stays where the flat vectors are."""
        if device.type == "cpu":
            return self
        moved = {name: getattr(self, name).to(device, non_blocking=True) for name in ("ids", "starts", "position", "row")}
        return replace(self, **moved)


def rows_of(trajectory: Trajectory, position: int = 0, prefix: Sequence[Step] = ()) -> list[TokenRow]:
    """Return the rows of a trajectory.

    Args:
        trajectory: an episode with token ids.
        position: of the trajectory in its batch.
        prefix: steps before its own, if it was branched. Their tokens are context and are not trained on.

    Raises:
        DataError: a step has no token ids (its agent does not report them), or a row begins with a generated token.
    """
    parts: dict[int, list[tuple[np.ndarray, bool, int]]] = {}
    first_own_row = trajectory.steps[0].row if trajectory.steps else 0
    for step in prefix:
        if step.row == first_own_row and step.prompt_token_ids is not None and step.response_token_ids is not None:
            parts.setdefault(step.row, []).extend([(step.prompt_token_ids, False, 0), (step.response_token_ids, False, 0)])
    for index, step in enumerate(trajectory.steps):
        if step.prompt_token_ids is None or step.response_token_ids is None:
            raise DataError(f"step {index} of task {trajectory.task!r} has no token ids; only episodes with token ids can be trained on")
        row = parts.setdefault(step.row, [])
        if not row and len(step.prompt_token_ids) == 0:
            raise DataError(f"row {step.row} of task {trajectory.task!r} begins with a generated token; a row begins with a prompt")
        row.append((step.prompt_token_ids, False, index))
        row.append((step.response_token_ids, True, index))
    return [_row(pieces, position) for pieces in parts.values()]


def _row(pieces: Sequence[tuple[np.ndarray, bool, int]], trajectory: int) -> TokenRow:
    lengths = torch.tensor([len(ids) for ids, _, _ in pieces])
    return TokenRow(
        ids=torch.from_numpy(np.concatenate([ids for ids, _, _ in pieces]).astype(np.int64)),
        generated=torch.tensor([made for _, made, _ in pieces]).repeat_interleave(lengths),
        step=torch.tensor([step for _, _, step in pieces]).repeat_interleave(lengths),
        trajectory=trajectory,
    )


def micro_batches(
    rows: Sequence[TokenRow], token_budget: int, chosen: Sequence[int] | None = None, *, padded: bool = False
) -> list[MicroBatch]:
    """Group rows into micro-batches.

    Args:
        rows: all rows of the batch; their order is that of the axis N.
        token_budget: tokens of a micro-batch.
        chosen: indices of the rows to group; None selects all.
        padded: whether the model pads the rows of a micro-batch to equal length; the budget then includes the padding.

    Returns:
        Micro-batches, longest rows first. Rows without generated tokens are left out.
    """
    counts = torch.tensor([int(row.generated.sum()) for row in rows])
    offsets = counts.cumsum(0) - counts
    wanted = [index for index in (range(len(rows)) if chosen is None else chosen) if counts[index] > 0]
    wanted.sort(key=lambda index: (-len(rows[index]), index))
    groups = (_padded_groups if padded else _packed_groups)([len(rows[index]) for index in wanted], token_budget)
    return [_join(rows, [wanted[place] for place in group], offsets) for group in groups]


def _padded_groups(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Return groups of neighbours: the first row of a group is its longest, so it decides the padded length."""
    groups: list[list[int]] = []
    for index in range(len(lengths)):
        if groups and (len(groups[-1]) + 1) * lengths[groups[-1][0]] <= budget:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def _packed_groups(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Return groups that fill the budget: each row, longest first, joins the first group that has space for it."""
    groups: list[list[int]] = []
    space: list[int] = []
    for index, length in enumerate(lengths):
        place = next((place for place, free in enumerate(space) if length <= free), len(groups))
        if place == len(groups):
            groups.append([])
            space.append(budget)
        groups[place].append(index)
        space[place] -= length
    return groups


def _join(rows: Sequence[TokenRow], group: Sequence[int], offsets: Tensor) -> MicroBatch:
    lengths = torch.tensor([len(rows[index]) for index in group])
    generated = torch.cat([rows[index].generated for index in group])
    position = generated.nonzero().squeeze(1)
    row = torch.arange(len(group)).repeat_interleave(lengths)[position]
    counts = torch.bincount(row, minlength=len(group))
    before = counts.cumsum(0) - counts
    return MicroBatch(
        ids=torch.cat([rows[index].ids for index in group]),
        starts=torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)]).int(),
        longest=int(lengths.max()),
        position=position,
        row=row,
        flat=offsets[torch.tensor(group)][row] + torch.arange(len(row)) - before[row],
    )
