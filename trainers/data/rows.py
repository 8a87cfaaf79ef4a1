"""Token rows: the tokens that the model read and generated, ready for a forward pass. Token in, token out: nothing is tokenised here.

Rules:
    - A row is the concatenation of the prompt and response ids of its steps; `generated` marks the response ids, end of turn included.
    - The generated tokens of all rows have one flat order, row after row: the axis N. Values per generated token (log-probabilities,
      advantages) are flat vectors, and `MicroBatch.flat` indexes into them.
    - Micro-batches consist of whole rows, padded on the right, with at most `token_budget` positions (a longer row is a micro-batch by
      itself). Rows of similar length are packed together; every row appears once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
    """Padded rows with the positions of their generated tokens."""

    ids: Tensor
    """[B, L] int64, padded on the right with 0; causal attention hides the padding."""
    row: Tensor
    """[n] row of each generated token in this micro-batch."""
    position: Tensor
    """[n] its position in the row, at least 1."""
    flat: Tensor
    """[n] its index on the axis N."""

    def to(self, device: torch.device) -> MicroBatch:
        """Return the micro-batch on another device; `flat` stays where the flat vectors are."""
        if device.type == "cpu":
            return self
        return MicroBatch(ids=self.ids.to(device), row=self.row.to(device), position=self.position.to(device), flat=self.flat)


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


def micro_batches(rows: Sequence[TokenRow], token_budget: int, chosen: Sequence[int] | None = None) -> list[MicroBatch]:
    """Pack rows into padded micro-batches.

    Args:
        rows: all rows of the batch; their order is that of the axis N.
        token_budget: positions (padding included) of a micro-batch.
        chosen: indices of the rows to pack; None packs all.

    Returns:
        Micro-batches, longest rows first. Rows without generated tokens are left out.
    """
    counts = torch.tensor([int(row.generated.sum()) for row in rows])
    offsets = counts.cumsum(0) - counts
    wanted = [index for index in (range(len(rows)) if chosen is None else chosen) if counts[index] > 0]
    groups: list[list[int]] = []
    for index in sorted(wanted, key=lambda index: (-len(rows[index]), index)):
        # The first row of a group is its longest, so it decides the padded length.
        if groups and (len(groups[-1]) + 1) * len(rows[groups[-1][0]]) <= token_budget:
            groups[-1].append(index)
        else:
            groups.append([index])
    return [_pad(rows, group, offsets) for group in groups]


def _pad(rows: Sequence[TokenRow], group: Sequence[int], offsets: Tensor) -> MicroBatch:
    ids = torch.nn.utils.rnn.pad_sequence([rows[index].ids for index in group], batch_first=True)
    generated = torch.nn.utils.rnn.pad_sequence([rows[index].generated for index in group], batch_first=True)
    row, position = generated.nonzero(as_tuple=True)
    within = generated.cumsum(1)[row, position] - 1
    starts = offsets[torch.tensor(group)]
    return MicroBatch(ids=ids, row=row, position=position, flat=starts[row] + within)
