"""`Pass`: the input of one forward pass of the engine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """The new tokens of B rows. Their blocks are allocated.

    Example:
        Row 0 has 40 tokens in the cache and reads two, row 1 is new and reads three::

            Pass(tokens=[7, 8, 5, 6, 9], starts=[40, 0], counts=[2, 3], wanted=[1, 1], table=[[3, 9], [4, 0]])
    """

    tokens: NDArray[np.int64]
    """[T] new tokens, row after row."""
    starts: NDArray[np.int64]
    """[B] tokens of each row that are in the cache."""
    counts: NDArray[np.int64]
    """[B] its new tokens, at least 1."""
    table: NDArray[np.int64]
    """[B, n] its blocks, padded with `SCRATCH`."""
    wanted: NDArray[np.int64]
    """[B] last tokens of each row after which logits are wanted, at least 1; T' in all."""


def places(starts_B: NDArray[np.int64], counts_B: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return [T] the numbers from each start on, as many as its count."""
    return np.arange(counts_B.sum()) + np.repeat(starts_B + counts_B - counts_B.cumsum(), counts_B)
