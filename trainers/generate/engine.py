"""The engine of `HFGenerator`: continuous batching of token rows over one ragged key-value cache.

Vocabulary:
    row       the tokens of one session; it keeps its slot of the cache, with its keys and values, between the steps of an episode;
    request   one response that a row waits for;
    waiting   rows whose new tokens have not been read yet; running: rows that are generating; idle: rows between two requests.

Rules:
    - `step` is one forward pass: it reads the new tokens of many waiting rows, or generates one token for every running row. Reading has
      priority once the waiting rows number an eighth of the running ones or have waited for eight passes, so that both kinds of passes
      stay large.
    - A row whose response is complete leaves the running rows in the same pass; the slot of a released row is free before the next one.
    - There are at most `max_batch` slots. A row without one waits. Only if nothing else can run, the row that has been idle longest loses
      its slot (and is read again at its next request).
    - The cached part of a row is a prefix of its tokens; a row that is rewritten keeps the prefix that it shares with the old one.
    - The caller reports a failure of `step` with `fail`; every row is then read again from the start.

Slots are dense: live rows are 0..n-1. A pass over nearly all of them runs on a view of the cache that includes the few others as idle
lanes: these write past their own end, where everything is overwritten before it is read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from empg_gym.errors import AgentError
from empg_gym.trainers.generate.base import Response, Usage
from empg_gym.trainers.generate.cache import RaggedCache
from empg_gym.trainers.generate.sampling import Sampling, sample

_VIEW_SHARE = 0.75
"""Share of the live rows above which a decoding pass uses all lanes instead of gathering its own."""
_READ_SHARE = 1 / 8
"""Ratio of waiting to running rows above which reading has priority."""
_PATIENCE = 8
"""Passes after which waiting rows are read, however few they are."""
_SEEN = 8
"""Bound on the cache positions that a reading pass sees (rows times the longest row), as a multiple of `max_read_tokens`: attention copies
the keys and values of such a pass to all heads."""
_BLOCK = 64
"""The cache grows by multiples of this many positions."""


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
    slot: int | None = None
    request: Request | None = None
    used: int = 0
    """Pass of the engine that completed its last response."""


class Engine:
    """Generates the responses of many rows at once. See the module docstring for the rules.

    Args:
        model: a causal language model with full attention in every layer.
        sampling: how tokens are drawn.
        stop_ids: ids that end a response.
        max_response_tokens: maximum response length, in tokens.
        max_batch: number of slots.
        max_row_tokens: maximum row length, in tokens; None for no limit.
        max_read_tokens: maximum size of a reading pass, in tokens with padding (a single row is always allowed).
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        sampling: Sampling,
        stop_ids: Sequence[int],
        max_response_tokens: int,
        max_batch: int,
        max_row_tokens: int | None,
        max_read_tokens: int,
    ) -> None:
        self.model = model
        self.sampling = sampling
        self.max_batch = max_batch
        self.max_row_tokens = max_row_tokens
        self.max_read_tokens = max_read_tokens
        self.usage = Usage()
        self.waiting: list[Row] = []
        config = model.config.get_text_config()
        self.cache = RaggedCache(config.num_hidden_layers)
        self._additive_mask = config._attn_implementation == "eager"
        self._is_stop = np.zeros(max(config.vocab_size, *(index + 1 for index in stop_ids)), bool)
        self._is_stop[list(stop_ids)] = True
        self._rows: list[Row | None] = []
        self._clock = 0
        self._holes = False
        self._held = 0  # passes since a row could have been read
        shape = (max_batch, max_response_tokens)
        self._length = np.zeros(max_batch, np.int64)  # tokens in the cache
        self._step = np.zeros(max_batch, np.int64)  # tokens of the response so far
        self._limit = np.zeros(max_batch, np.int64)
        self._last = np.zeros(max_batch, np.int64)  # the token to be read next
        self._running = np.zeros(max_batch, bool)
        self._uniforms = np.zeros(shape, np.float64)
        self._tokens = np.zeros(shape, np.int32)
        self._logprobs = np.zeros(shape, np.float32)
        self._entropies = np.zeros(shape, np.float32)

    @property
    def busy(self) -> bool:
        """Whether any row waits for a response."""
        return bool(self.waiting) or bool(self._running.any())

    @property
    def live(self) -> int:
        """Slots in use, those of idle rows included."""
        return sum(row is not None for row in self._rows)

    def submit(self, row: Row, ids: Sequence[int], *, new_row: bool, request: Request) -> None:
        """Append `ids` to the row, or replace it if `new_row`, and request a response."""
        if new_row:
            if row.slot is not None:
                self._length[row.slot] = min(int(self._length[row.slot]), _shared_prefix(row.ids, ids))
            row.ids = list(ids)
        else:
            row.ids.extend(ids)
        request.start = len(row.ids)
        row.request = request
        self.waiting.append(row)

    def release(self, row: Row) -> None:
        """Drop the row and its pending request, if any."""
        if row.request is not None:
            row.request = None
            if row in self.waiting:
                self.waiting.remove(row)
        if row.slot is not None:
            self._rows[row.slot], self._running[row.slot], self._holes = None, False, True
            row.slot = None
            if not any(self._rows):
                self._compact()

    def forget(self) -> None:
        """Drop all keys and values because the weights changed; unfinished responses continue from their tokens so far."""
        self._length[:] = 0
        for slot in np.flatnonzero(self._running):
            row = self._rows[slot]
            assert row is not None and row.request is not None
            row.ids[row.request.start :] = self._tokens[slot, : self._step[slot]].tolist()
            self.waiting.append(row)
        self._running[:] = False

    def fail(self, error: BaseException) -> None:
        """Report the error to every row that waits for a response, and drop the whole cache."""
        rows = self.waiting + [row for row in self._rows if row is not None]
        self.waiting = []
        self._running[:] = False
        self._length[:] = 0
        # Non-finite values would spoil the rows that later use these slots: attention multiplies masked values by 0.
        self.cache.resize(0, 0)
        for row in rows:
            request, row.request = row.request, None
            if request is not None:
                request.on_done(error)

    def step(self) -> int:
        """Run one forward pass, and return the number of responses that it completed."""
        began = time.perf_counter()
        self._clock += 1
        if self._holes:
            self._compact()
        running = np.flatnonzero(self._running)
        ready = self._ready(len(running)) if self.waiting else []
        self._held += bool(ready)
        if len(ready) > _READ_SHARE * len(running) or self._held > _PATIENCE:
            self._held = 0
            ended = self._read(self._admit(ready))
        elif len(running):
            ended = self._decode(running)
        else:
            ended = 0
        self.usage.seconds += time.perf_counter() - began
        return ended

    # The two passes

    def _read(self, rows: list[Row]) -> int:
        """Read the new tokens of `rows` and draw the next token of each."""
        rows = sorted(rows, key=_slot)
        slots = np.array([row.slot for row in rows])
        starts = self._length[slots]
        parts = [row.ids[start:] for row, start in zip(rows, starts.tolist(), strict=True)]
        counts = np.array([len(part) for part in parts])
        width = int(counts.max())
        tokens = np.zeros((len(rows), width), np.int64)
        for line, part in zip(tokens, parts, strict=True):
            line[width - len(part) :] = part
        # Rows are aligned on the right, so that the last column holds every row's last token; padding is written past the row's end.
        offsets = np.arange(width) - (width - counts)[:, None]
        targets = starts[:, None] + offsets % width
        positions = np.where(offsets >= 0, targets, 0)
        for row, slot in zip(rows, slots, strict=True):
            request = row.request
            assert request is not None
            self._step[slot] = len(row.ids) - request.start
            self._limit[slot] = len(request.uniforms)
            self._uniforms[slot, : len(request.uniforms)] = request.uniforms
        self._reserve(int((starts + width).max()))
        view = len(slots) == slots[-1] - slots[0] + 1
        logits = self._forward(tokens, positions, targets, slots, view, int((starts + counts).max()))
        self._length[slots] = starts + counts
        self._running[slots] = True
        self.usage.prompt_tokens += int(counts.sum())
        return self._draw(slots, logits)

    def _decode(self, slots: NDArray[np.int64]) -> int:
        """Read the last token of the running rows and draw the next one of each."""
        live = len(self._rows)
        view = len(slots) >= _VIEW_SHARE * live
        lanes = np.arange(live) if view else slots
        positions = self._length[lanes, None]
        self._reserve(int(positions.max()) + 1)
        logits = self._forward(self._last[lanes, None], positions, positions, lanes, view, int(self._length[slots].max()) + 1)
        self._length[slots] += 1
        if view and len(slots) < live:
            logits = logits[torch.from_numpy(slots).to(logits.device)]
        return self._draw(slots, logits)

    def _forward(
        self,
        tokens_BQ: NDArray[np.int64],
        positions_BQ: NDArray[np.int64],
        targets_BQ: NDArray[np.int64],
        slots_B: NDArray[np.int64],
        view: bool,
        span: int,
    ) -> torch.Tensor:
        """Return [B, V] logits at the last column."""
        device = self.model.device
        flat = torch.from_numpy((slots_B[:, None] * self.cache.capacity + targets_BQ).ravel()).to(device)
        span = min(-(-span // 16) * 16, self.cache.capacity)
        lanes = slice(int(slots_B[0]), int(slots_B[-1]) + 1) if view else torch.from_numpy(slots_B).to(device)
        self.cache.place(lanes, flat, span)
        positions = torch.from_numpy(positions_BQ).to(device)
        mask = torch.arange(span, device=device) <= positions[:, None, :, None]
        if self._additive_mask:
            mask = torch.zeros_like(mask, dtype=self.model.dtype).masked_fill(~mask, torch.finfo(self.model.dtype).min)
        with torch.no_grad():
            output = self.model(
                input_ids=torch.from_numpy(tokens_BQ).to(device),
                attention_mask=mask,
                position_ids=positions,
                past_key_values=self.cache,
                use_cache=True,
                logits_to_keep=1,
            )
        self.usage.forwards += 1
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    def _draw(self, slots: NDArray[np.int64], logits: torch.Tensor) -> int:
        """Draw and record a token for every slot; complete the responses that end."""
        at = self._step[slots]
        uniforms = torch.from_numpy(self._uniforms[slots, at]).to(logits.device, torch.float32 if logits.device.type == "mps" else None)
        ids, logp, entropy = sample(logits, uniforms, self.sampling)
        drawn = torch.stack([ids.float(), logp, entropy]).cpu().numpy()
        if not np.isfinite(drawn).all():
            raise AgentError("the model's logits are not finite: its weights or its number type are damaged (a learning rate too high?)")
        tokens = drawn[0].astype(np.int64)
        self._tokens[slots, at], self._logprobs[slots, at], self._entropies[slots, at] = drawn
        self._last[slots] = tokens
        self._step[slots] = at + 1
        stopped = self._is_stop[tokens]
        done = stopped | (at + 1 >= self._limit[slots])
        self._running[slots] = ~done
        self.usage.response_tokens += len(slots)
        ended = np.flatnonzero(done)
        for index in ended:
            self._finish(int(slots[index]), bool(stopped[index]))
        return len(ended)

    def _finish(self, slot: int, stopped: bool) -> None:
        row = self._rows[slot]
        assert row is not None and row.request is not None
        request, row.request = row.request, None
        count = self._step[slot]
        ids = self._tokens[slot, :count].copy()
        row.ids[request.start :] = ids.tolist()
        row.used = self._clock
        self.usage.responses += 1
        logprobs, entropies = self._logprobs[slot, :count].copy(), self._entropies[slot, :count].copy()
        request.on_done(Response(ids=ids, logprobs=logprobs, entropies=entropies, stopped=stopped))

    # Slots and memory

    def _ready(self, running: int) -> list[Row]:
        """Return the waiting rows that have a slot or can get one."""
        free = self.max_batch - len(self._rows)
        ready = [row for row in self.waiting if row.slot is not None]
        if not ready and not free and not running:
            idle = min((row for row in self._rows if row is not None), key=lambda row: row.used)
            self.release(idle)
            self._compact()
            free = 1
        return ready + [row for row in self.waiting if row.slot is None][:free]

    def _admit(self, ready: list[Row]) -> list[Row]:
        """Remove the rows of the next reading pass from the waiting ones, grouping similar lengths, and give each a slot."""
        unread = {id(row): len(row.ids) - (0 if row.slot is None else int(self._length[row.slot])) for row in ready}
        rows: list[Row] = []
        longest = 0
        for row in sorted(ready, key=lambda row: unread[id(row)]):
            longest = max(longest, len(row.ids))
            count = len(rows) + 1
            if rows and (count * unread[id(row)] > self.max_read_tokens or count * longest > _SEEN * self.max_read_tokens):
                break
            rows.append(row)
        taken = {id(row) for row in rows}
        self.waiting = [row for row in self.waiting if id(row) not in taken]
        for row in rows:
            if row.slot is None:
                row.slot = len(self._rows)
                self._rows.append(row)
                self._length[row.slot] = 0
        return rows

    def _reserve(self, tokens: int) -> None:
        """Ensure space for the live rows and `tokens` positions."""
        num_slots, capacity = self.cache.num_slots, self.cache.capacity
        if len(self._rows) > num_slots:
            num_slots = min(self.max_batch, max(len(self._rows), 2 * num_slots))
        if tokens > capacity:
            more = capacity * 3 // 2 if self.max_row_tokens is None else min(capacity * 3 // 2, self.max_row_tokens)
            capacity = -(-max(tokens, more) // _BLOCK) * _BLOCK
        self.cache.resize(num_slots, capacity)

    def _compact(self) -> None:
        """Move the last rows into the freed slots, and shrink the cache once three quarters of it are free."""
        live = self.live
        holes = np.array([slot for slot in range(live) if self._rows[slot] is None], np.int64)
        behind = np.array([slot for slot in range(live, len(self._rows)) if self._rows[slot] is not None], np.int64)
        if len(holes):
            self.cache.move(behind, holes, int(self._length[behind].max()))
            for state in (self._length, self._step, self._limit, self._last, self._running):
                state[holes] = state[behind]
            for buffer in (self._uniforms, self._tokens, self._logprobs, self._entropies):
                buffer[holes] = buffer[behind]
            for hole, slot in zip(holes, behind, strict=True):
                row = self._rows[slot]
                assert row is not None
                self._rows[hole], row.slot = row, int(hole)
        del self._rows[live:]
        self._running[live:] = False
        self._holes = False
        if live == 0:
            self.cache.resize(0, 0)
        elif 4 * live <= self.cache.num_slots:
            self.cache.resize(2 * live, self.cache.capacity)


def _slot(row: Row) -> int:
    assert row.slot is not None
    return row.slot


def _shared_prefix(old: Sequence[int], new: Sequence[int]) -> int:
    """Return the length of the common prefix, shorter than `new` (the last id must be read to predict the next token)."""
    length = min(len(old), len(new) - 1)
    different = np.flatnonzero(np.asarray(old[:length]) != np.asarray(new[:length]))
    return int(different[0]) if len(different) else length
