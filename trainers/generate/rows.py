"""The rows of an engine: their tokens, what they wait for, and their places in the key-value cache.

Rules:
    - A row has a slot from its first pass until it is released; the slot owns blocks of the cache, which it takes as the row grows.
    - A slot whose blocks are dropped keeps its row, whose tokens are then read again from the start.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from empg_gym.trainers.generate.base import Response
from empg_gym.trainers.generate.cache import PagedCache
from empg_gym.trainers.generate.token_pass import places


@dataclass(slots=True, kw_only=True, eq=False)
class Request:
    """A request for a response."""

    uniforms: NDArray[np.float64]
    """[R] a number in [0, 1) for each token; R is the maximum length of the response."""
    on_done: Callable[[Response | BaseException], None]
    start: int = 0
    """Tokens of the row before the response."""


@dataclass(slots=True, eq=False)
class Row:
    """The tokens of a session and its place in the cache."""

    ids: list[int] = field(default_factory=list)
    """Those of the response so far included."""
    topic: int = 0
    """A hash of its first prompt; rows that begin alike get similar responses."""
    slot: int | None = None
    request: Request | None = None
    used: int = 0
    """Pass of the engine that completed its last response, or that read it."""

    def settle(self, outcome: Response | BaseException) -> None:
        """Answer the row's request, if it has one."""
        request, self.request = self.request, None
        if request is not None:
            request.on_done(outcome)


class Slots:
    """The slots of an engine and the blocks that they own.

    Args:
        cache: whose blocks they are.
        count: number of slots.

    Attributes:
        length: [slots] tokens of the row that are in the cache.
        blocks: [slots] number of blocks of the row.
        table: [slots, n] these blocks, in the order of the tokens.
        running: [slots] whether the row is generating.
    """

    def __init__(self, cache: PagedCache, count: int) -> None:
        self.length = np.zeros(count, np.int64)
        self.blocks = np.zeros(count, np.int64)
        self.table = np.zeros((count, 8), np.int64)
        self.running = np.zeros(count, bool)
        self._cache = cache
        self._rows: list[Row | None] = [None] * count
        self._unused = list(range(count))  # a heap

    @property
    def unused(self) -> int:
        """Slots without a row."""
        return len(self._unused)

    @property
    def rows(self) -> list[Row]:
        """Rows with a slot."""
        return [row for row in self._rows if row is not None]

    def row(self, slot: int) -> Row:
        """Return the row of a slot."""
        row = self._rows[slot]
        assert row is not None
        return row

    def age(self, slot: int) -> tuple[int, int]:
        """Return what sorts slots by the last use of their rows."""
        return self.row(slot).used, slot

    def place(self, row: Row) -> int:
        """Return the slot of the row, an unused one if it has none."""
        if row.slot is None:
            row.slot = heapq.heappop(self._unused)
            self._rows[row.slot] = row
        return row.slot

    def release(self, row: Row) -> None:
        """Take the slot of the row, if it has one."""
        if row.slot is not None:
            self.evict([row.slot])
            self._rows[row.slot], self.running[row.slot] = None, False
            heapq.heappush(self._unused, row.slot)
            row.slot = None

    # Blocks

    def take(self, slots: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
        """Append blocks to rows, as many as `counts` names for each."""
        if not counts.any():
            return
        width = int((self.blocks[slots] + counts).max())
        if width > self.table.shape[1]:
            self.table = np.pad(self.table, ((0, 0), (0, max(width, 2 * self.table.shape[1]) - self.table.shape[1])))
        blocks = self._cache.take(int(counts.sum()))
        self.table[np.repeat(slots, counts), places(self.blocks[slots], counts)] = blocks
        self.blocks[slots] += counts

    def evict(self, slots: Iterable[int]) -> None:
        """Drop the keys and values of rows, which are read again when they are needed."""
        for slot in slots:
            self._cache.give(self.table[slot, : self.blocks[slot]].tolist())
            self.table[slot] = self.blocks[slot] = self.length[slot] = 0

    def free(self, count: int, *, kept: set[int], last: Iterable[int | None]) -> bool:
        """Evict rows that do not run, longest unused first, until `count` blocks are available.

        Args:
            count: of blocks.
            kept: slots whose rows stay.
            last: slots whose rows are evicted after all others.

        Returns:
            Whether they are available.
        """
        if count > self._cache.available:
            late = set(last)
            others = [slot for slot in np.flatnonzero(self.blocks).tolist() if not self.running[slot] and slot not in kept]
            for slot in sorted(others, key=lambda slot: (slot in late, *self.age(slot))):
                self.evict([slot])
                if count <= self._cache.available:
                    break
        return count <= self._cache.available

    def shrink(self) -> None:
        """Move the blocks of all rows to the front of the cache, and free the rest of its memory."""
        inside = np.arange(self.table.shape[1]) < self.blocks[:, None]
        self._cache.shrink(self.table[inside])
        self.table[inside] = np.arange(1, self._cache.used + 1)

    def clear(self) -> None:
        """Drop the keys and values of all rows, and free the memory of the cache."""
        self.length[:] = self.blocks[:] = 0
        self.table[:] = 0
        self._cache.release()
