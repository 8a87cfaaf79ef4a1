"""`PagedCache`: the keys and values of many rows in blocks of `BLOCK` positions, allocated as the rows grow.

Rules:
    - A row holds its positions in a list of blocks, in any order; only its last block has unused positions. Memory follows the tokens of
      the rows, not the longest of them.
    - Block `SCRATCH` does not belong to a row: padding is written there. Positions that a row has not written are finite; the caller masks
      them.
    - The cache grows as blocks are taken, never above `limit`: its budget, or less once the device had no memory for more. The caller
      decides whose blocks are freed when it is full.
    - `cache_bytes` computes the memory of rows before anything is allocated.

Before a forward pass, `place` sets where its tokens are written; `write` stores the keys and values of a layer, `gather` returns those of a
batch of rows as a rectangle, as the models of transformers expect them.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers.cache_utils import Cache, CacheLayerMixin

if TYPE_CHECKING:
    from transformers import PretrainedConfig

BLOCK = 32
"""Positions per block."""
SCRATCH = 0
"""The block that padding is written to."""
_FIRST = 4
"""Minimum blocks of the first allocation; a cache of this size does not shrink."""


def blocks_of(tokens: int) -> int:
    """Return the number of blocks that hold `tokens` positions."""
    return -(-tokens // BLOCK)


def block_bytes(config: PretrainedConfig, dtype: torch.dtype) -> int:
    """Return the memory of one block in all layers, in bytes."""
    text = config.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    features = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return int(2 * text.num_hidden_layers * heads * features * BLOCK * dtype.itemsize)


def cache_bytes(config: PretrainedConfig, rows: int, tokens: int, dtype: torch.dtype) -> int:
    """Return the memory for the keys and values of `rows` rows of `tokens` tokens, in bytes.

    Args:
        config: of the model.
        rows: rows that are in the cache at the same time.
        tokens: length of a row.
        dtype: number type of the forward pass.
    """
    return (rows * blocks_of(tokens) + 1) * block_bytes(config, dtype)


class Placement:
    """Where the current forward pass writes and reads; shared by the layers.

    Attributes:
        targets: [T] position of each new token, counted over all blocks.
        table: [B, n] blocks of the rows of the batch, padded with `SCRATCH`.
    """

    targets: torch.Tensor
    table: torch.Tensor

    def place(self, blocks_T: torch.Tensor, offsets_T: torch.Tensor, table_Bn: torch.Tensor) -> None:
        """Set the block of each new token, its position in the block, and the blocks of the rows."""
        self.targets, self.table = blocks_T * BLOCK + offsets_T, table_Bn


class PagedLayer(CacheLayerMixin):
    """One layer: keys and values as [blocks, BLOCK, heads, features]."""

    is_sliding = False
    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self, placement: Placement) -> None:
        super().__init__()
        self.placement = placement
        self.num_blocks = 0
        self.release()

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        for name, states in (("keys", key_states), ("values", value_states)):
            setattr(self, name, states.new_zeros(self.num_blocks, BLOCK, states.shape[1], states.shape[3]))
        self.is_initialized = True

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Write [B, heads, Q, features] of the pass, and return both of its rows as [B, heads, span, features]."""
        self.write(*(states.transpose(1, 2).flatten(0, 1) for states in (key_states, value_states)))
        return self._gather(self.keys), self._gather(self.values)

    def write(self, keys_THF: torch.Tensor, values_THF: torch.Tensor) -> None:
        """Write the keys and values of the tokens of the pass."""
        if not self.is_initialized:
            self.lazy_initialization(keys_THF.transpose(0, 1)[None], values_THF.transpose(0, 1)[None])
        for store, states in ((self.keys, keys_THF), (self.values, values_THF)):
            store.flatten(0, 1).index_copy_(0, self.placement.targets, states)

    def copy(self, sources: torch.Tensor, targets: torch.Tensor) -> None:
        """Copy keys and values from and to [T] positions, counted over all blocks."""
        for store in (self.keys, self.values):
            positions = store.flatten(0, 1)
            positions.index_copy_(0, targets, positions.index_select(0, sources))

    def _gather(self, store: torch.Tensor) -> torch.Tensor:
        rows = store.index_select(0, self.placement.table.flatten())
        return rows.view(len(self.placement.table), -1, *store.shape[2:]).transpose(1, 2)

    def release(self) -> None:
        """Free the memory."""
        self.keys = self.values = torch.empty(0)
        self.is_initialized = False

    def resize(self, num_blocks: int, kept: torch.Tensor | None) -> None:
        """Change the number of blocks; `kept` names the blocks to keep, which become the first ones (None keeps all)."""
        self.num_blocks = num_blocks
        if not self.is_initialized:
            return
        for name in ("keys", "values"):
            old = getattr(self, name)
            new = old.new_empty(num_blocks, *old.shape[1:])
            count = len(old) if kept is None else len(kept)
            if kept is None:
                new[:count] = old
            else:
                torch.index_select(old, 0, kept.to(old.device), out=new[:count])
            new[count:].zero_()
            setattr(self, name, new)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.placement.table.shape[1] * BLOCK, 0

    def get_seq_length(self) -> int:
        return 0

    def get_max_length(self) -> int:
        return -1


class PagedCache(Cache):
    """A transformers cache in blocks. It holds no memory until the first block is taken.

    Args:
        num_layers: of the model.
        budget: returns the maximum number of blocks, `SCRATCH` included; called whenever the first block is taken.
    """

    def __init__(self, num_layers: int, budget: Callable[[], int]) -> None:
        self.budget = budget
        self._limit: int | None = None
        self.num_blocks = 0
        self.placement = Placement()
        self.paged = [PagedLayer(self.placement) for _ in range(num_layers)]
        self._first = _FIRST
        self._most = 0  # blocks since the cache was released
        self._free: list[int] = []  # a heap: low blocks first, so that the used ones stay close together
        super().__init__(layers=list(self.paged))

    @property
    def limit(self) -> int:
        """Maximum number of blocks, `SCRATCH` included."""
        if self._limit is None:
            self._limit = self.budget()
        return self._limit

    @limit.setter
    def limit(self, blocks: int) -> None:
        self._limit = blocks

    @property
    def used(self) -> int:
        """Blocks that rows hold."""
        return max(0, self.num_blocks - 1 - len(self._free))

    @property
    def available(self) -> int:
        """Blocks that can be taken."""
        return max(0, self.limit - 1) - self.used

    def take(self, count: int) -> list[int]:
        """Return `count` free blocks; there must be as many `available`.

        Raises:
            torch.OutOfMemoryError: the cache can't grow; its limit is now lower.
        """
        if count > len(self._free):
            self._grow(self.used + 1 + count)
        return [heapq.heappop(self._free) for _ in range(count)]

    def give(self, blocks: Iterable[int]) -> None:
        """Return blocks to the free ones."""
        for block in blocks:
            heapq.heappush(self._free, block)

    def copy(self, sources_T: NDArray[np.int64], targets_T: NDArray[np.int64]) -> None:
        """Copy keys and values of all layers from and to positions, counted over all blocks."""
        for layer in self.paged:
            layer.copy(*(torch.from_numpy(places).to(layer.keys.device) for places in (sources_T, targets_T)))

    @property
    def sparse(self) -> bool:
        """Whether seven eighths of the blocks are free."""
        return self.num_blocks > _FIRST and 8 * self.used <= self.num_blocks

    def shrink(self, kept: NDArray[np.int64]) -> None:
        """Move the blocks `kept`, all that rows hold, to 1, 2, … in their order, and free the memory of most others."""
        index = torch.from_numpy(np.concatenate([[SCRATCH], kept]))
        num_blocks = max(_FIRST, 4 * len(kept))
        self._resize(num_blocks, index)
        self._free = list(range(len(index), num_blocks))

    def release(self) -> None:
        """Drop everything and free the memory; the next block is taken under a new budget."""
        self._first, self._most = max(_FIRST, self._most), 0  # the next rows will probably need as much
        self._limit, self.num_blocks, self._free = None, 0, []
        for layer in self.paged:
            layer.num_blocks = 0
            layer.release()

    def _grow(self, least: int) -> None:
        wanted = min(self.limit, max(least, self.num_blocks * 3 // 2 if self.num_blocks else self._first))
        try:
            self._resize(wanted, None)
        except torch.OutOfMemoryError:
            self.limit, self._first = max(self.num_blocks, wanted // 2), _FIRST
            raise

    def _resize(self, num_blocks: int, kept: torch.Tensor | None) -> None:
        for layer in self.paged:
            layer.resize(num_blocks, kept)
        for block in range(max(1, self.num_blocks), num_blocks):
            heapq.heappush(self._free, block)
        self.num_blocks = num_blocks
        self._most = max(self._most, num_blocks)
