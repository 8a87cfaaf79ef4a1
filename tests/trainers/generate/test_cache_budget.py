"""A cache with a small budget: responses do not change, and only a row that cannot fit is an error."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, Qwen2Config

from empg_gym.errors import ConfigError
from empg_gym.rollout import Limits
from empg_gym.trainers.generate.cache import BLOCK, PagedLayer, block_bytes, blocks_of, cache_bytes
from empg_gym.trainers.generate.forward import Forward
from empg_gym.trainers.generate.hf import HFGenerator
from empg_gym.trainers.generate.memory import GB
from tests.trainers.generate.worlds import assert_equals_forward, play, tiny_model, tokens_of

CONTINUE = Limits(end_on_cut_response=False)
LONGEST = 7
"""Blocks of the longest row below."""


@pytest.fixture(scope="module", params=["lean", "modules"])
def tiny(request):
    model, tokenizer = tiny_model()
    if request.param == "modules":
        model.register_forward_pre_hook(lambda *_: None)
    return model, tokenizer


def generator(tiny, blocks: int | None = None, **options) -> HFGenerator:
    """Return a generator with memory for `blocks` blocks of rows."""
    if blocks is not None:
        options["cache_gb"] = (blocks + 1) * block_bytes(tiny[0].config, torch.float32) / GB
    return HFGenerator(*tiny, max_response_tokens=12, max_row_tokens=LONGEST * BLOCK, **options)


@pytest.fixture(scope="module")
def unlimited(tiny):
    return play(generator(tiny), 12, limits=CONTINUE)


def watched(made: HFGenerator) -> list[int]:
    """Return a list to which every pass appends the blocks that rows hold after it, once the accounts are checked."""
    engine = made._engine
    used: list[int] = []
    step = engine.step

    def checked() -> int:
        ended = step()
        inside = np.arange(engine._slots.table.shape[1]) < engine._slots.blocks[:, None]
        held = engine._slots.table[inside].tolist()
        assert len(set(held)) == len(held) == engine.cache.used
        assert 0 not in held
        assert (engine._slots.length <= engine._slots.blocks * BLOCK).all()
        used.append(engine.cache.used)
        return ended

    engine.step = checked
    return used


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(blocks=st.integers(LONGEST, 40), concurrency=st.integers(1, 12), max_batch=st.integers(1, 12), read=st.sampled_from([1, 60, 16_384]))
def test_a_budget_changes_no_response(tiny, unlimited, blocks, concurrency, max_batch, read):
    limited = generator(tiny, blocks, max_batch=max_batch, max_read_tokens=read)
    used = watched(limited)
    got = play(limited, 12, limits=CONTINUE, concurrency=concurrency)
    assert tokens_of(got) == tokens_of(unlimited)
    assert max(used) <= blocks
    assert limited.live == 0 and limited._engine.cache.num_blocks == 0


def test_rows_are_evicted_and_preempted_under_a_tight_budget(tiny, unlimited):
    limited, free = generator(tiny, LONGEST + 1), generator(tiny)
    assert tokens_of(play(limited, 12, limits=CONTINUE)) == tokens_of(unlimited)
    play(free, 12, limits=CONTINUE)
    assert limited.usage.prompt_tokens > free.usage.prompt_tokens
    assert_equals_forward(tiny[0], unlimited)


def test_only_a_row_that_does_not_fit_is_an_error(tiny):
    made = generator(tiny, 2)
    words = "apple bench candle drawer envelope fork garden hammer inkwell jar "

    async def run():
        long, short = made.session(None, 0), made.session(None, 1)
        return await asyncio.gather(
            long.act([{"role": "user", "content": words * 8}]),
            short.act([{"role": "user", "content": "apple"}]),
            return_exceptions=True,
        )

    long, short = asyncio.run(run())
    assert isinstance(long, ConfigError)
    assert "cache_gb" in str(long) and "64 tokens" in str(long)
    assert len(short.token_ids) > 0


@pytest.mark.parametrize("at", [{0}, {3}, {5, 6, 7, 8}, {2, 9, 16, 23}])
def test_a_pass_that_the_device_has_no_memory_for_is_taken_again(tiny, unlimited, at, monkeypatch):
    made = generator(tiny)
    forward, calls = Forward.__call__, iter(range(10**6))

    def scarce(self, batch, cache, **options):
        if next(calls) in at:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return forward(self, batch, cache, **options)

    monkeypatch.setattr(Forward, "__call__", scarce)
    assert tokens_of(play(made, 12, limits=CONTINUE)) == tokens_of(unlimited)


@pytest.mark.parametrize("room", [LONGEST + 1, 20, 30])
def test_a_cache_that_cannot_grow_evicts(tiny, unlimited, room, monkeypatch):
    """The device refuses every allocation above `room` blocks."""
    resize = PagedLayer.resize

    def refuse(self, num_blocks, kept):
        if num_blocks > room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        resize(self, num_blocks, kept)

    monkeypatch.setattr(PagedLayer, "resize", refuse)
    made = generator(tiny)
    used = watched(made)
    assert tokens_of(play(made, 12, limits=CONTINUE)) == tokens_of(unlimited)
    assert 0 < max(used) < room


def test_a_device_without_memory_for_one_row_is_an_error(tiny, monkeypatch):
    made = generator(tiny)

    def full(self, batch, cache, **options):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(Forward, "__call__", full)
    with pytest.raises(ConfigError, match="no memory for a single row"):
        play(made, 4, limits=CONTINUE)


def test_cache_bytes_equals_the_allocation(tiny):
    config = tiny[0].config
    made = generator(tiny)
    sizes = []
    watched(made)
    step = made._engine.step

    def measured() -> int:
        ended = step()
        cache = made._engine.cache
        allocated = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.paged)
        sizes.append((allocated, cache.num_blocks * block_bytes(config, torch.float32)))
        return ended

    made._engine.step = measured
    play(made, 3, limits=CONTINUE)
    assert all(allocated == computed for allocated, computed in sizes)
    assert cache_bytes(config, 3, 2 * BLOCK + 1, torch.float32) == 10 * block_bytes(config, torch.float32)


def test_cache_bytes_of_known_shapes():
    """Qwen2.5-1.5B: 28 layers, 2 heads of 128 features for keys and values, 28 KiB per token in bfloat16."""
    qwen = Qwen2Config(hidden_size=1536, num_hidden_layers=28, num_attention_heads=12, num_key_value_heads=2)
    assert cache_bytes(qwen, 128, 4096, torch.bfloat16) == (128 * 4096 + BLOCK) * 28 * 1024
    llama = LlamaConfig(hidden_size=64, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=4, head_dim=32)
    assert block_bytes(llama, torch.float32) == 2 * 3 * 4 * 32 * BLOCK * 4
    assert [blocks_of(tokens) for tokens in (0, 1, BLOCK, BLOCK + 1)] == [0, 1, 1, 2]


@pytest.mark.parametrize("options", [{"cache_gb": 0}, {"cache_gb": -1.0}, {"cache_share": 0.0}, {"cache_share": 1.5}])
def test_budgets_are_checked(tiny, options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        HFGenerator(*tiny, **options)


def test_the_default_budget_is_a_share_of_the_free_memory(tiny):
    small, large = (HFGenerator(*tiny, cache_share=share)._engine.cache.limit for share in (0.1, 0.6))
    assert 0 < 3 * small < large < 18 * small
