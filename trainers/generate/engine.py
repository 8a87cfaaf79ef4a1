"""The engine of `HFGenerator`: continuous batching of token rows over one paged key-value cache.

Vocabulary:
    row       the tokens of one session; it keeps its keys and values in the cache between the steps of an episode;
    request   one response that a row waits for;
    waiting   rows whose new tokens have not been read yet; running: rows that are generating; idle: rows between two requests.

Rules:
    - `step` is one forward pass: it reads the new tokens of many waiting rows, or the last token of every running row. A lean pass, which
      doesn't pad, does both at once. Each row generates its next token, and more where they were guessed
      (`empg_gym.trainers.generate.draft`), which changes the number of passes and nothing else. Where a pass can't do both, reading has
      priority once the waiting rows number an eighth of the running ones or have waited for eight passes, so that both kinds of passes
      stay large.
    - Rows of equal tokens, such as the first steps of a task's episodes, are computed once in a pass: the others copy the keys and values
      and draw from the same logits.
    - A row whose response is complete leaves the running rows in the same pass; the slot of a released row is free before the next one.
    - There are at most `max_batch` slots. A row without one waits. Only if nothing else can run, the row that has been idle longest loses
      its slot (and is read again at its next request).
    - The cached part of a row is a prefix of its tokens; a row that is rewritten keeps the prefix that it shares with the old one.
    - A row takes blocks of the cache as it grows. Where none is left, the rows that have been idle longest lose theirs, then waiting ones,
      then the running row that was read last: it waits, its tokens so far are read again, and no row is read until a response is complete.
      Memory never changes a response; only a row that does not fit by itself is an error.
    - A pass that the device has no memory for is taken again: a reading pass with fewer rows, otherwise with a smaller cache.
    - The caller reports a failure of `step` with `fail`; every row is then read again from the start.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from empg_gym.errors import AgentError, ConfigError
from empg_gym.trainers.generate.base import Response, Usage
from empg_gym.trainers.generate.cache import BLOCK, PagedCache, blocks_of
from empg_gym.trainers.generate.draft import CONTEXT, Drafter
from empg_gym.trainers.generate.forward import Forward
from empg_gym.trainers.generate.rows import Request, Row, Slots
from empg_gym.trainers.generate.sampling import Sampling, sample
from empg_gym.trainers.generate.token_pass import Pass, places

_READ_SHARE = 1 / 8
"""Ratio of waiting to running rows above which reading has priority."""
_PATIENCE = 8
"""Passes after which waiting rows are read, however few they are."""
_SEEN = 8
"""Bound on the cache positions that a reading pass sees (rows times the longest row), as a multiple of `max_read_tokens`: attention copies
the keys and values of such a pass to all heads."""
_GUESSES = 4
"""Maximum number of tokens that a lean pass guesses for a row."""


class Engine:
    """Generates the responses of many rows at once. See the module docstring for the rules.

    Args:
        model: a causal language model with full attention in every layer.
        sampling: how tokens are drawn.
        stop_ids: ids that end a response.
        max_response_tokens: maximum response length, in tokens.
        max_batch: number of slots.
        max_read_tokens: maximum size of a reading pass, in tokens with padding (a single row is always allowed).
        budget: returns the maximum number of blocks of the cache.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        sampling: Sampling,
        stop_ids: Sequence[int],
        max_response_tokens: int,
        max_batch: int,
        max_read_tokens: int,
        budget: Callable[[], int],
    ) -> None:
        self.model = model
        self.sampling = sampling
        self.max_batch = max_batch
        self.max_read_tokens = max_read_tokens
        self.usage = Usage()
        self.waiting: list[Row] = []
        config = model.config.get_text_config()
        self.cache = PagedCache(config.num_hidden_layers, budget)
        self._forward = Forward(model)
        self._lean = False  # whether the current pass is
        self._drafter = Drafter(_GUESSES)
        self._is_stop = np.zeros(max(config.vocab_size, *(index + 1 for index in stop_ids)), bool)
        self._is_stop[list(stop_ids)] = True
        self._slots = Slots(self.cache, max_batch)
        self._clock = 0
        self._held = 0  # passes since a row could have been read
        self._full = False  # whether a running row lost its blocks since a response was complete
        self._starved = False  # whether a single row has failed for want of memory, and is tried again in an empty cache
        self._read_limit = max_read_tokens
        shape = (max_batch, max_response_tokens)
        self._step = np.zeros(max_batch, np.int64)  # tokens of the response so far
        self._limit = np.zeros(max_batch, np.int64)
        self._uniforms = np.zeros(shape, np.float64)
        self._logprobs = np.zeros(shape, np.float32)
        self._entropies = np.zeros(shape, np.float32)

    @property
    def busy(self) -> bool:
        """Whether any row waits for a response."""
        return bool(self.waiting) or bool(self._slots.running.any())

    @property
    def live(self) -> int:
        """Slots in use, those of idle rows included."""
        return self.max_batch - self._slots.unused

    def submit(self, row: Row, ids: Sequence[int], *, new_row: bool, request: Request) -> None:
        """Append `ids` to the row, or replace it if `new_row`, and request a response."""
        if new_row:
            if row.slot is not None:
                self._slots.length[row.slot] = min(int(self._slots.length[row.slot]), _shared_prefix(row.ids, ids))
            row.ids = list(ids)
        else:
            row.ids.extend(ids)
        if new_row or not row.topic:
            row.topic = hash(tuple(row.ids))
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
            self._slots.release(row)
            if not self.live:
                self.cache.release()
                self._full, self._read_limit = False, self.max_read_tokens
                self._drafter.clear()  # a rollout does not depend on earlier ones

    def forget(self) -> None:
        """Drop all keys and values because the weights changed; unfinished responses continue from their tokens so far."""
        self._preempt(np.flatnonzero(self._slots.running))
        self._slots.evict(np.flatnonzero(self._slots.blocks))

    def fail(self, error: BaseException) -> None:
        """Report the error to every row that waits for a response, and drop the whole cache."""
        rows = self.waiting + self._slots.rows
        self.waiting = []
        self._slots.running[:] = False
        # Non-finite values would spoil the rows that later use these blocks: attention multiplies masked values by 0.
        self._slots.clear()
        for row in rows:
            row.settle(error)

    def step(self) -> int:
        """Run one forward pass, and return the number of responses that it completed."""
        began = time.perf_counter()
        self._clock += 1
        self._lean = self._forward.lean
        if self.cache.sparse:
            self._slots.shrink()
        running = np.flatnonzero(self._slots.running)
        ready = self._ready(len(running)) if self.waiting and not (self._full and len(running)) else []
        self._held += bool(ready)
        ended = 0
        rows: list[Row] = []
        limit = self.cache.limit
        try:
            slots, guesses = self._continue(running)
            if self._lean or len(ready) > _READ_SHARE * len(running) or self._held > _PATIENCE:
                self._held = 0
                self._admit([] if self._full and len(slots) else ready, rows)
            if rows and not self._lean:
                slots, guesses = slots[:0], []
            read, guessed = self._open(rows)
            slots = np.concatenate([slots, read])
            if len(slots):
                ended = self._run(slots, [self._slots.row(slot) for slot in slots.tolist()], guesses + guessed)
        except torch.OutOfMemoryError as error:
            self.waiting = rows + self.waiting
            alone = len(rows) == 1 and np.count_nonzero(self._slots.blocks) == np.count_nonzero(self._slots.blocks[rows[0].slot])
            if self.cache.limit >= limit or alone:  # otherwise the cache could not grow: fewer rows will be read, or others evicted
                self._make_smaller(rows, error)
        self.usage.seconds += time.perf_counter() - began
        return ended

    # A pass

    def _open(self, rows: Sequence[Row]) -> tuple[NDArray[np.int64], list[list[int]]]:
        """Prepare the responses of rows that are read now; return their slots and guesses of their next tokens."""
        slots = np.array([row.slot for row in rows], np.int64)
        for row, slot in zip(rows, slots.tolist(), strict=True):
            request = row.request
            assert request is not None
            self._step[slot] = len(row.ids) - request.start
            self._limit[slot] = len(request.uniforms)
            self._uniforms[slot, : len(request.uniforms)] = request.uniforms
            row.used = self._clock
        space = (self._slots.blocks[slots] * BLOCK).tolist()
        self.usage.prompt_tokens += sum(len(row.ids) for row in rows) - int(self._slots.length[slots].sum())
        return slots, [self._guess(row)[: most - len(row.ids)] for row, most in zip(rows, space, strict=True)]

    def _continue(self, slots: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[list[int]]]:
        """Make room for the next tokens of running rows; return the rows that still run and guesses of these tokens."""
        guesses = [self._guess(self._slots.row(slot)) for slot in slots.tolist()]
        kept = self._extend(slots, np.array([1 + len(some) for some in guesses], np.int64))
        if len(kept) < len(slots):
            guesses = [guesses[place] for place in np.searchsorted(slots, kept)]
        return kept, guesses

    def _guess(self, row: Row) -> list[int]:
        """Return guesses of the next tokens of a row's response."""
        if not self._lean or row.request is None:
            return []
        return self._drafter.guess(row.ids[-CONTEXT:], row.request.start + len(row.request.uniforms) - len(row.ids) - 1, row.topic)

    def _run(self, slots: NDArray[np.int64], rows: Sequence[Row], guesses: Sequence[list[int]]) -> int:
        """Read the tokens of rows that are not in the cache and guesses of the next ones; record the tokens drawn up to a wrong guess."""
        starts = self._slots.length[slots]
        parts = [[*row.ids[start:], *some] for row, start, some in zip(rows, starts.tolist(), guesses, strict=True)]
        counts, wanted = np.array([len(part) for part in parts]), np.array([1 + len(some) for some in guesses])
        leaders = _leaders(rows, starts, guesses)
        drawn = self._draw(slots, parts, counts, wanted, leaders)
        guessed = wanted - 1
        if wanted.max() > 1:
            wanted, drawn = self._accept(guesses, wanted, drawn)
        self._slots.length[slots] += counts - guessed + wanted - 1
        return self._record(slots, rows, drawn, wanted)

    def _accept(
        self, guesses: Sequence[list[int]], wanted_B: NDArray[np.int64], drawn_3T: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return [B] how many of the drawn tokens of each row count, up to the first that differs from its guess, and those tokens."""
        width = int(wanted_B.max())
        inside = np.arange(width) < wanted_B[:, None]
        guessed, drawn = np.full(inside.shape, -1), np.full(inside.shape, -1)
        guessed[np.arange(width) < wanted_B[:, None] - 1] = [token for some in guesses for token in some]
        drawn[inside] = drawn_3T[0]
        right = (drawn == guessed) & ~self._is_stop[drawn]
        accepted = 1 + np.cumprod(right[:, :-1], axis=1).sum(axis=1)
        return accepted, drawn_3T[:, (np.arange(width) < accepted[:, None])[inside]]

    @torch.inference_mode()
    def _draw(
        self,
        slots: NDArray[np.int64],
        parts: Sequence[list[int]],
        counts_B: NDArray[np.int64],
        wanted_B: NDArray[np.int64],
        leaders_B: NDArray[np.int64],
    ) -> NDArray[np.float32]:
        """Read new tokens of rows, and draw a token after each of the last ones of a row, as many as are wanted.

        Returns:
            [3, T'] the tokens, their log-probabilities and the entropies of their distributions.
        """
        starts = self._slots.length[slots]
        table = self._slots.table[slots, : blocks_of(int((starts + counts_B).max()))]
        own = np.flatnonzero(leaders_B == np.arange(len(slots)))
        tokens = np.array([token for index in own.tolist() for token in parts[index]], np.int64)
        batch = Pass(tokens=tokens, starts=starts[own], counts=counts_B[own], wanted=wanted_B[own], table=table[own])
        logits = self._forward(batch, self.cache, lean=self._lean)
        if len(own) < len(slots):
            others = np.flatnonzero(leaders_B != np.arange(len(slots)))
            row, position = np.repeat(others, counts_B[others]), places(starts[others], counts_B[others])
            sources, targets = (table[index, position // BLOCK] * BLOCK + position % BLOCK for index in (leaders_B[row], row))
            self.cache.copy(sources, targets)
        self.usage.forwards += 1
        self._starved = False
        first = np.zeros(len(slots), np.int64)
        first[own] = np.cumsum(batch.wanted) - batch.wanted
        at = places(first[leaders_B], wanted_B)  # of the logits; rows of equal tokens draw from the same ones
        turn = _turns(at)
        uniforms = np.zeros((len(logits), int(turn.max()) + 1))
        uniforms[at, turn] = self._uniforms[np.repeat(slots, wanted_B), places(self._step[slots], wanted_B)]
        numbers = torch.from_numpy(uniforms).to(logits.device, torch.float32 if logits.device.type == "mps" else None)
        ids, logp, entropy = (values.cpu().numpy() for values in sample(logits, numbers, self.sampling))
        drawn = np.stack([ids[at, turn].astype(np.float32), logp[at, turn], entropy[at]])
        if not np.isfinite(drawn).all():
            raise AgentError("the model's logits are not finite: its weights or its number type are damaged (a learning rate too high?)")
        return drawn

    def _record(self, slots: NDArray[np.int64], rows: Sequence[Row], drawn_3T: NDArray[np.float32], counts_B: NDArray[np.int64]) -> int:
        """Record the tokens drawn for every row; complete the responses that end."""
        index, at = np.repeat(slots, counts_B), places(self._step[slots], counts_B)
        self._logprobs[index, at], self._entropies[index, at] = drawn_3T[1:]
        tokens = drawn_3T[0].astype(np.int64)
        left = iter(tokens.tolist())
        for row, count in zip(rows, counts_B.tolist(), strict=True):
            row.ids += itertools.islice(left, count)
        self._step[slots] += counts_B
        stopped = self._is_stop[tokens[counts_B.cumsum() - 1]]
        done = stopped | (self._step[slots] >= self._limit[slots])
        self._slots.running[slots] = ~done
        self.usage.response_tokens += int(counts_B.sum())
        ended = np.flatnonzero(done)
        for place in ended.tolist():
            self._finish(rows[place], int(slots[place]), bool(stopped[place]))
        return len(ended)

    def _finish(self, row: Row, slot: int, stopped: bool) -> None:
        request, count = row.request, self._step[slot]
        assert request is not None
        self._drafter.learn(row.ids[max(0, request.start - CONTEXT) :], min(CONTEXT, request.start), row.topic)
        row.used = self._clock
        self._full = False
        self.usage.responses += 1
        ids = np.array(row.ids[request.start :], np.int32)
        logprobs, entropies = self._logprobs[slot, :count].copy(), self._entropies[slot, :count].copy()
        row.settle(Response(ids=ids, logprobs=logprobs, entropies=entropies, stopped=stopped))

    # Slots

    def _ready(self, running: int) -> list[Row]:
        """Return the waiting rows that have a slot or can get one."""
        ready = [row for row in self.waiting if row.slot is not None]
        if not ready and not self._slots.unused and not running:
            self.release(min(self._slots.rows, key=lambda row: row.used))
        return ready + [row for row in self.waiting if row.slot is None][: self._slots.unused]

    def _admit(self, ready: list[Row], rows: list[Row]) -> None:
        """Move the rows of the next reading pass from the waiting ones to `rows`, grouping similar lengths; give each a slot and blocks."""
        unread = {id(row): len(row.ids) - (0 if row.slot is None else int(self._slots.length[row.slot])) for row in ready}
        missing: list[int] = []
        longest = reserved = 0
        available = self.cache.available
        for row in sorted(ready, key=lambda row: unread[id(row)]):
            longest = max(longest, len(row.ids))
            count = len(rows) + 1
            if rows and (count * unread[id(row)] > self._read_limit or count * longest > _SEEN * self._read_limit):
                break
            slot = self._slots.place(row)
            needed = max(0, blocks_of(len(row.ids)) - int(self._slots.blocks[slot]))
            fits = reserved + needed <= available
            if not fits and (rows or self._slots.running.any()):
                break  # it waits for the others
            if not fits and not self._free(needed, {slot}):
                self._refuse(row)
                break
            rows.append(row)
            missing.append(needed)
            reserved += needed
            if not fits:
                break
        taken = {id(row) for row in rows}
        self.waiting = [row for row in self.waiting if id(row) not in taken]
        if rows:
            self._slots.take(np.array([row.slot for row in rows]), np.array(missing))

    def _extend(self, slots: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Take a block for each running row whose blocks are too few for its new tokens, and return the rows that still run."""
        full = slots[self._slots.length[slots] + counts > self._slots.blocks[slots] * BLOCK]
        while not self._free(len(full), set(slots.tolist())):
            last = max(slots.tolist(), key=self._slots.age)
            self._preempt([last])
            if len(slots) == 1:
                self._refuse(self.waiting[-1])
                return slots[:0]
            self._slots.evict([last])
            self._full = True
            slots, full = slots[slots != last], full[full != last]
        if len(full):
            self._slots.take(full, np.ones(len(full), np.int64))
        return slots

    # Memory

    def _free(self, count: int, kept: set[int]) -> bool:
        """Evict idle rows, then waiting ones, until `count` blocks are available. Whether they are."""
        return self._slots.free(count, kept=kept, last=(row.slot for row in self.waiting))

    def _preempt(self, slots: Iterable[int]) -> None:
        """Let running rows wait; what they have generated is read again."""
        for slot in slots:
            self._slots.running[slot] = False
            self.waiting.append(self._slots.row(slot))

    def _refuse(self, row: Row) -> None:
        """Fail a waiting row that does not fit into the cache by itself; if the cache is smaller than its budget, let it try that first."""
        request = row.request
        assert request is not None
        budget = self.cache.budget()
        needed = blocks_of(request.start + len(request.uniforms)) + 1
        if self.cache.limit < min(needed, budget):
            self._slots.clear()
            self.cache.limit = min(needed, budget)
            return
        self.waiting.remove(row)
        row.settle(
            ConfigError(
                f"a row of {len(row.ids)} tokens does not fit into the generator's key-value cache, whose budget is "
                f"{max(0, budget - 1) * BLOCK} tokens: raise the budget (cache_gb or cache_share in rollout.backend_options), or lower "
                "max_row_tokens"
            )
        )

    def _make_smaller(self, rows: list[Row], error: torch.OutOfMemoryError) -> None:
        """Prepare the next pass after one that the device had no memory for.

        Args:
            rows: those of a reading pass; they wait again.
            error: why it failed.

        Raises:
            ConfigError: one row alone does not fit.
        """
        if len(rows) > 1:
            self._read_limit = max(1, self._read_limit // 2)
            return
        alone = bool(np.count_nonzero(self._slots.blocks) <= 1)
        if alone and self._starved:
            reason = str(error).split(". ", 1)[0]
            raise ConfigError(
                f"the device has no memory for a single row ({reason}): lower rollout.max_row_tokens, or use a device with more memory"
            ) from error
        self._starved = alone
        limit = self.cache.used // 2 + 1
        self._preempt(np.flatnonzero(self._slots.running))
        self._slots.clear()
        if not alone:
            self.cache.limit = limit
        if self.model.device.type == "cuda":
            torch.cuda.empty_cache()


def _leaders(rows: Sequence[Row], starts: NDArray[np.int64], guesses: Sequence[list[int]]) -> NDArray[np.int64]:
    """Return [B] the index of the first of the rows that is equal to each, with as many tokens in the cache and equal guesses."""
    known: dict[tuple[int, ...], int] = {}
    leaders = np.arange(len(rows))
    for index, (row, start, some) in enumerate(zip(rows, starts.tolist(), guesses, strict=True)):
        first = known.setdefault((start, len(row.ids), *row.ids[-CONTEXT:], *some), index)
        if rows[first].ids == row.ids:
            leaders[index] = first
    return leaders


def _turns(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return [N] how many earlier values are equal to each."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    turns = np.empty_like(values)
    turns[order] = np.arange(len(values)) - np.searchsorted(ordered, ordered)
    return turns


def _shared_prefix(old: Sequence[int], new: Sequence[int]) -> int:
    """Return the length of the common prefix, shorter than `new` (the last id must be read to predict the next token)."""
    length = min(len(old), len(new) - 1)
    different = np.flatnonzero(np.asarray(old[:length]) != np.asarray(new[:length]))
    return int(different[0]) if len(different) else length
