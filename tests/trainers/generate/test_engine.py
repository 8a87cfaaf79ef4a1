"""Slots, memory, failures and changes of weights."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from empg_gym.errors import AgentError
from empg_gym.rollout import EpisodeSpec, Limits, Rollout
from empg_gym.trainers.generate.hf import HFGenerator
from empg_gym.trajectory import Step, StopReason
from tests.trainers.generate.worlds import assert_equals_forward, forward_row, make_env, play, tiny_model, tokens_of

CONTINUE = Limits(end_on_cut_response=False)


@pytest.fixture
def tiny():
    return tiny_model()


@pytest.fixture
def passes(tiny):
    """Shape [B, Q] of every forward pass."""
    shapes: list[tuple[int, ...]] = []
    tiny[0].register_forward_pre_hook(lambda model, args, kwargs: shapes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True)
    return shapes


def prompt(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def cache_bytes(generator):
    return sum(layer.keys.nbytes + layer.values.nbytes for layer in generator._engine.cache.paged)


def test_finished_episodes_cost_nothing(tiny, passes):
    generator = HFGenerator(*tiny, max_response_tokens=12)
    trajectories = play(generator, 40, limits=CONTINUE)
    lanes = sum(batch for batch, queries in passes if queries == 1)
    drawn = sum(len(step.response_token_ids) for t in trajectories for step in t.steps)
    assert lanes <= drawn / 0.75
    assert generator.live == 0 and cache_bytes(generator) == 0


def test_memory_follows_the_live_episodes(tiny, passes):
    """Sixteen short episodes and a long one: once the short ones have ended, the long one runs alone in a small cache."""
    generator = HFGenerator(*tiny, max_response_tokens=12)
    sizes: list[tuple[int, int]] = []

    async def episode(seed: int, steps: int) -> None:
        session = generator.session(None, seed)
        messages = prompt(f"apple {seed}")
        for _ in range(steps):
            messages.append({"role": "assistant", "content": (await session.act(messages)).text})
            messages += prompt("bench")
            sizes.append((generator.live, cache_bytes(generator)))
        session.close()

    async def run() -> None:
        await asyncio.gather(*(episode(seed, 1) for seed in range(16)), episode(16, 5))

    asyncio.run(run())
    assert max(live for live, _ in sizes) == 17
    assert sizes[-1][0] == 1
    assert sizes[-1][1] <= max(size for _, size in sizes) / 4
    assert passes[-1][0] == 1
    assert generator.live == 0 and cache_bytes(generator) == 0


def test_slots_are_used_again(tiny, passes):
    generator = HFGenerator(*tiny, max_response_tokens=12, max_batch=4)
    trajectories = play(generator, 30, limits=CONTINUE)
    assert max(batch for batch, _ in passes) == 4
    assert assert_equals_forward(tiny[0], trajectories) > 300


def test_unclosed_sessions_do_not_block_others(tiny):
    model, _ = tiny
    generator = HFGenerator(*tiny, max_response_tokens=6, max_batch=2)

    async def run():
        sessions = [generator.session(None, seed) for seed in range(5)]
        first = [await session.act(prompt("apple")) for session in sessions]
        talks = [[*prompt("apple"), {"role": "assistant", "content": one.text}, *prompt("bench jar")] for one in first]
        return first, await asyncio.gather(*(session.act(talk) for session, talk in zip(sessions, talks, strict=True)))

    for one, two in zip(*asyncio.run(run()), strict=True):
        ids = np.concatenate([one.prompt_token_ids, one.token_ids, two.prompt_token_ids, two.token_ids]).tolist()
        logp = forward_row(model, ids)[0]
        begin = len(ids) - len(two.token_ids)
        expected = logp[torch.arange(begin - 1, len(ids) - 1), torch.tensor(ids[begin:])]
        np.testing.assert_allclose(two.logprobs, expected.numpy(), atol=1e-4, rtol=0)
        assert not two.new_row


def test_a_failed_pass_fails_the_waiting_sessions_and_nothing_hangs(tiny):
    model, _ = tiny
    generator = HFGenerator(*tiny, max_response_tokens=12)
    expected = tokens_of(play(generator, 8, limits=CONTINUE))
    left = iter(range(5))

    def fail(*_):
        if next(left, None) is None:
            raise RuntimeError("out of memory, for the test")

    hook = model.register_forward_pre_hook(fail)
    failed = play(generator, 8, limits=CONTINUE)
    assert {t.stop_reason for t in failed} == {StopReason.ERROR}
    assert all("out of memory, for the test" in t.error for t in failed)
    hook.remove()
    assert generator.live == 0
    assert tokens_of(play(generator, 8, limits=CONTINUE)) == expected


def test_an_episode_is_retried_after_a_failure(tiny):
    model, tokenizer = tiny
    expected = tokens_of(play(HFGenerator(model, tokenizer, max_response_tokens=12), 8, limits=CONTINUE))
    calls = iter(range(4))

    def fail(*_):
        if next(calls, None) == 3:
            raise RuntimeError("once")

    model.register_forward_pre_hook(fail)
    rollout = Rollout(make_env, HFGenerator(model, tokenizer, max_response_tokens=12), limits=CONTINUE, retries=1)
    trajectories = rollout.run([EpisodeSpec(seed=seed) for seed in range(8)])
    assert {t.attempts for t in trajectories} == {2}
    assert tokens_of(trajectories) == expected


def test_logits_that_are_not_finite_are_an_error(tiny):
    model, tokenizer = tiny
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    with pytest.raises(AgentError, match="not finite"):
        asyncio.run(HFGenerator(model, tokenizer).session(None, 0).act(prompt("apple")))


def test_a_cancelled_session_begins_a_new_row(tiny):
    generator = HFGenerator(*tiny, max_response_tokens=12)

    async def run():
        cancelled, other = generator.session(None, 0), generator.session(None, 1)
        task = asyncio.create_task(cancelled.act(prompt("apple")))
        beside = asyncio.create_task(other.act(prompt("bench")))
        while generator.usage.forwards < 2:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        return await beside, await cancelled.act(prompt("apple fork"))

    beside, after = asyncio.run(run())
    alone = asyncio.run(HFGenerator(*tiny, max_response_tokens=12).session(None, 1).act(prompt("bench")))
    assert beside.token_ids.tolist() == alone.token_ids.tolist()
    assert after.new_row
    assert generator.live == 2


def test_time_limit_ends_an_episode_in_the_middle_of_a_response(tiny):
    model, tokenizer = tiny
    ticks = iter(range(10**6))

    def slow(*_):
        import time

        time.sleep(0.02 if next(ticks) > 3 else 0)

    model.register_forward_pre_hook(slow)
    generator = HFGenerator(model, tokenizer, max_response_tokens=5000)
    model.lm_head.bias.data.fill_(0)
    trajectories = play(generator, 4, limits=Limits(max_seconds=0.15))
    assert StopReason.TIME_LIMIT in {t.stop_reason for t in trajectories}
    assert generator.live == 0


def test_new_weights_are_used_from_the_next_token_on(tiny):
    model, tokenizer = tiny
    generator = HFGenerator(model, tokenizer, max_response_tokens=40)
    model.lm_head.bias.data.fill_(0)
    generator.model.lm_head.bias.data[tokenizer.eos_token_id] = -50
    other, _ = tiny_model(seed=9)
    changed_at: list[int] = []

    async def run():
        session = generator.session(None, 5)
        task = asyncio.create_task(session.act(prompt("apple bench")))
        while generator.usage.forwards < 10:
            await asyncio.sleep(0)
        old = {name: value.clone() for name, value in model.state_dict().items()}
        model.load_state_dict(other.state_dict())
        model.lm_head.bias.data.copy_(old["lm_head.bias"])
        changed_at.append(generator.usage.response_tokens)
        generator.update_weights(model.named_parameters(), 1)
        first = await task
        talk = [*prompt("apple bench"), {"role": "assistant", "content": first.text}, *prompt("candle")]
        return old, first, await session.act(talk)

    old, first, second = asyncio.run(run())
    assert (first.policy_version, second.policy_version) == (0, 1)
    row = np.concatenate([first.prompt_token_ids, first.token_ids, second.prompt_token_ids, second.token_ids]).tolist()
    new_logp = forward_row(model, row)[0]
    begin, at = len(first.prompt_token_ids), changed_at[0]
    model.load_state_dict(old)
    old_logp = forward_row(model, row)[0]

    def check(logprobs, logp, start):
        expected = logp[torch.arange(start - 1, start - 1 + len(logprobs)), torch.tensor(row[start : start + len(logprobs)])]
        np.testing.assert_allclose(logprobs, expected.numpy(), atol=1e-4, rtol=0)

    check(first.logprobs[:at], old_logp, begin)
    check(first.logprobs[at:], new_logp, begin + at)
    check(second.logprobs, new_logp, len(row) - len(second.token_ids))
    assert 0 < at < len(first.token_ids)


def test_branches_continue_the_row_of_their_path(tiny):
    generator = HFGenerator(*tiny, max_response_tokens=12)

    async def run():
        session = generator.session(None, 0)
        first = await session.act(prompt("apple"))
        talk = [*prompt("apple"), {"role": "assistant", "content": first.text}, *prompt("bench")]
        step = Step(
            observation="apple", response=first.text, thought="", action="", valid_action=True, reward=0.0,
            prompt_token_ids=first.prompt_token_ids, response_token_ids=first.token_ids,
        )  # fmt: skip
        branches = [generator.session(SimpleNamespace(path=[step]), seed) for seed in range(8)]
        return first, await asyncio.gather(session.act(talk), *(branch.act(talk) for branch in branches))

    first, second = asyncio.run(run())
    assert not any(completion.new_row for completion in second)
    assert len({tuple(completion.prompt_token_ids) for completion in second}) == 1
    assert len({tuple(completion.token_ids) for completion in second}) > 1
    for completion in second:
        ids = np.concatenate([first.prompt_token_ids, first.token_ids, completion.prompt_token_ids, completion.token_ids]).tolist()
        begin = len(ids) - len(completion.token_ids)
        logp = forward_row(tiny[0], ids)[0]
        expected = logp[torch.arange(begin - 1, len(ids) - 1), torch.tensor(ids[begin:])]
        np.testing.assert_allclose(completion.logprobs, expected.numpy(), atol=1e-4, rtol=0)


def test_training_mode_is_restored_and_weights_keep_their_gradients(tiny):
    model, _ = tiny
    model.train()
    play(HFGenerator(*tiny, max_response_tokens=4), 2)
    assert model.training
    model(input_ids=torch.tensor([[1, 2, 3]]), labels=torch.tensor([[1, 2, 3]])).loss.backward()
    assert all(p.grad is not None for p in model.model.parameters())
