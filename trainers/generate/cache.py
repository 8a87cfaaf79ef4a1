"""`RaggedCache`: keys and values of many rows of different lengths, each written at its own positions.

A row of the cache is a *slot*. Before a forward pass, `place` sets which slots form the batch and at which positions the new tokens are
written; each layer then scatters the new keys and values there and returns those of the batch's slots up to the longest row. Values past
the end of a row are finite, and the caller masks them.

Slots are kept dense: `move` copies rows into freed slots, so that a batch of all live rows is a view and needs no copy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers.cache_utils import Cache, CacheLayerMixin


class Placement:
    """Where the current forward pass writes its tokens; shared by the layers.

    Attributes:
        slots: a slice (the batch is a view of the cache) or [B] indices (the batch is gathered).
        flat: [B*Q] index of each new token: slot * capacity + position.
        span: number of positions that attention sees.
    """

    slots: slice | torch.Tensor
    flat: torch.Tensor
    span: int
    num_slots: int = 0
    capacity: int = 0


class RaggedLayer(CacheLayerMixin):
    """One layer: keys and values as [slots, capacity, heads, features]."""

    is_sliding = False
    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self, placement: Placement) -> None:
        super().__init__()
        self.placement = placement
        self.release()

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        place = self.placement
        for name, states in (("keys", key_states), ("values", value_states)):
            _, heads, _, features = states.shape
            setattr(self, name, states.new_zeros(place.num_slots, place.capacity, heads, features))
        self.is_initialized = True

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Scatter [B, heads, Q, features] and return both as [B, heads, span, features]."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        return self._put(self.keys, key_states), self._put(self.values, value_states)

    def _put(self, store: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        place = self.placement
        batch, heads, queries, features = states.shape
        new = states.transpose(1, 2).reshape(batch * queries, heads, features)
        store.view(-1, heads, features).index_copy_(0, place.flat, new)
        if isinstance(place.slots, slice):
            return store[place.slots, : place.span].transpose(1, 2)
        return store[:, : place.span].index_select(0, place.slots).transpose(1, 2)

    def release(self) -> None:
        """Free the memory."""
        self.keys = self.values = torch.empty(0)
        self.is_initialized = False

    def resize(self, num_slots: int, capacity: int) -> None:
        """Change the size, keeping the rows and positions that fit."""
        for name in ("keys", "values"):
            old = getattr(self, name)
            new = old.new_zeros(num_slots, capacity, *old.shape[2:])
            slots, positions = min(num_slots, old.shape[0]), min(capacity, old.shape[1])
            new[:slots, :positions] = old[:slots, :positions]
            setattr(self, name, new)

    def move(self, source: torch.Tensor, target: torch.Tensor, length: int) -> None:
        """Copy the first `length` positions of the rows `source` to the rows `target`."""
        for store in (self.keys, self.values):
            store[target, :length] = store[source, :length]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.placement.span, 0

    def get_seq_length(self) -> int:
        return 0

    def get_max_length(self) -> int:
        return -1


class RaggedCache(Cache):
    """A transformers cache over slots. It is empty until the first `resize`."""

    def __init__(self, num_layers: int) -> None:
        self.placement = Placement()
        self.ragged = [RaggedLayer(self.placement) for _ in range(num_layers)]
        super().__init__(layers=list(self.ragged))

    @property
    def num_slots(self) -> int:
        """Number of rows that memory is allocated for."""
        return self.placement.num_slots

    @property
    def capacity(self) -> int:
        """Tokens per row that memory is allocated for."""
        return self.placement.capacity

    def resize(self, num_slots: int, capacity: int) -> None:
        """Set the size to `num_slots` rows of `capacity` tokens; 0 slots free all memory."""
        if (num_slots, capacity) == (self.num_slots, self.capacity):
            return
        self.placement.num_slots, self.placement.capacity = num_slots, capacity
        for layer in self.ragged:
            if num_slots == 0:
                layer.release()
            elif layer.is_initialized:
                layer.resize(num_slots, capacity)

    def move(self, source: NDArray[np.int64], target: NDArray[np.int64], length: int) -> None:
        """Copy rows of at most `length` tokens to other slots; no slot may be both source and target."""
        for layer in self.ragged:
            if layer.is_initialized:
                device = layer.keys.device
                layer.move(torch.from_numpy(source).to(device), torch.from_numpy(target).to(device), length)

    def place(self, slots: slice | torch.Tensor, flat: torch.Tensor, span: int) -> None:
        """Set where the next forward pass writes and what it sees; see `Placement`."""
        self.placement.slots, self.placement.flat, self.placement.span = slots, flat, span
