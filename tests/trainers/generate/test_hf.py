"""The generator against a plain forward pass, alone and through `Rollout`."""

from __future__ import annotations

import asyncio
import dataclasses

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from empg_gym.errors import AgentError, ConfigError
from empg_gym.rollout import EpisodeSpec, Limits
from empg_gym.trainers.generate.base import Generator
from empg_gym.trainers.generate.cache import blocks_of
from empg_gym.trainers.generate.draft import Drafter
from empg_gym.trainers.generate.engine import _GUESSES
from empg_gym.trainers.generate.forward import Forward
from empg_gym.trainers.generate.hf import HFGenerator
from empg_gym.trainers.generate.sampling import Sampling
from empg_gym.trajectory import StopReason
from tests.trainers.generate.worlds import assert_equals_forward, forward_row, make_env, play, rows_of, tiny_model, tokens_of

CONTINUE = Limits(end_on_cut_response=False)


@pytest.fixture(scope="module")
def tiny():
    return tiny_model()


def test_is_a_generator(tiny):
    assert isinstance(HFGenerator(*tiny), Generator)


@pytest.mark.parametrize("temperature", [1.0, 0.6, 1.7])
def test_logprobs_and_entropies_equal_a_forward_pass(tiny, temperature):
    model, tokenizer = tiny
    generator = HFGenerator(model, tokenizer, temperature=temperature, max_response_tokens=12)
    trajectories = play(generator, 32, limits=CONTINUE)
    assert assert_equals_forward(model, trajectories, Sampling(temperature=temperature)) > 300
    assert len({len(step.response_token_ids) for t in trajectories for step in t.steps}) > 5
    assert {step.finish_reason for t in trajectories for step in t.steps} == {"stop", "length"}
    assert all(step.row == 0 for t in trajectories for step in t.steps)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_llama_with_grouped_heads(tiny, attention):
    tokenizer = tiny[1]
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,
        attn_implementation=attention,
    )
    model = LlamaForCausalLM(config).eval()
    trajectories = play(HFGenerator(model, tokenizer, max_response_tokens=6), limits=CONTINUE)
    assert assert_equals_forward(model, trajectories) > 200


def test_bfloat16_runs(tiny):
    model, tokenizer = tiny_model(seed=4)
    model.to(torch.bfloat16)
    trajectories = play(HFGenerator(model, tokenizer, max_response_tokens=6), 4, limits=CONTINUE)
    assert all(step.logprobs.dtype == step.entropies.dtype == np.float32 for t in trajectories for step in t.steps)
    assert assert_equals_forward(model, trajectories, tolerance=0.3) > 20


def test_decoded_ids_are_the_text(tiny):
    model, tokenizer = tiny
    for trajectory in play(HFGenerator(model, tokenizer, max_response_tokens=12), limits=CONTINUE):
        for step in trajectory.steps:
            ids = step.response_token_ids.tolist()
            stopped = ids[-1] == tokenizer.eos_token_id
            assert (step.finish_reason == "stop") == stopped
            assert tokenizer.decode(ids[:-1] if stopped else ids) == step.response
            assert tokenizer.eos_token_id not in ids[:-1]
            assert step.completion_tokens == len(ids) == len(step.logprobs) == len(step.entropies)
        (row, spans), *more = rows_of(trajectory)
        assert not more
        env = make_env()
        env.reset(seed=trajectory.seed)
        for step in trajectory.steps[:-1]:
            env.step(step.response)
        whole = tokenizer.apply_chat_template(env.messages, tokenize=False, add_generation_prompt=True)
        last = spans[-1][1]
        assert tokenizer.decode(row[:last]) == whole
        assert trajectory.steps[-1].prompt_tokens == last


def test_tokens_equal_those_of_a_sampler_without_cache(tiny):
    """An oracle that runs the whole row for every token and inverts the distribution in numpy gives the same episode."""
    model, tokenizer = tiny
    limit = 8
    for trajectory in play(HFGenerator(model, tokenizer, max_response_tokens=limit), 6, limits=CONTINUE):
        spec = EpisodeSpec(seed=trajectory.seed)
        rng = np.random.Generator(np.random.Philox(spec.agent_seed))
        ids: list[int] = []
        for step in trajectory.steps:
            ids.extend(step.prompt_token_ids.tolist())
            uniforms = rng.random(limit)
            for at, token in enumerate(step.response_token_ids.tolist()):
                cumulative = np.cumsum(forward_row(model, ids)[0][-1].exp().numpy())
                assert token == int(np.searchsorted(cumulative, uniforms[at] * cumulative[-1], side="right"))
                ids.append(token)


@pytest.mark.slow
def test_episodes_do_not_depend_on_the_batch(tiny):
    model, tokenizer = tiny
    together = play(HFGenerator(model, tokenizer, max_response_tokens=12), 20, limits=CONTINUE)
    for options, concurrency in (({}, 1), ({"max_batch": 3}, 20), ({"max_read_tokens": 1}, 7)):
        apart = play(HFGenerator(model, tokenizer, max_response_tokens=12, **options), 20, limits=CONTINUE, concurrency=concurrency)
        assert tokens_of(apart) == tokens_of(together)
        for one, other in zip(apart, together, strict=True):
            for a, b in zip(one.steps, other.steps, strict=True):
                np.testing.assert_allclose(a.logprobs, b.logprobs, atol=1e-4, rtol=0)


def test_episodes_are_a_function_of_the_seed(tiny):
    generator = HFGenerator(*tiny, max_response_tokens=12)
    first, again, other = play(generator), play(generator), play(generator, first=100)
    assert tokens_of(first) == tokens_of(again)
    assert tokens_of(first) != tokens_of(other)


def test_greedy_takes_the_most_probable_token(tiny):
    model, tokenizer = tiny
    trajectories = play(HFGenerator(model, tokenizer, temperature=0.0, max_response_tokens=12), limits=CONTINUE)
    assert_equals_forward(model, trajectories)
    for trajectory in trajectories:
        for ids, spans in rows_of(trajectory):
            best = forward_row(model, ids)[0].argmax(-1)
            assert all(best[begin - 1 : end - 1].tolist() == ids[begin:end] for _, begin, end in spans)


def test_a_moved_window_opens_a_new_row_and_keeps_the_shared_prefix(tiny):
    model, tokenizer = tiny
    generator = HFGenerator(model, tokenizer, max_response_tokens=6)
    trajectories = play(generator, 8, history=1, limits=CONTINUE)
    assert_equals_forward(model, trajectories)
    steps = [step for t in trajectories for step in t.steps]
    assert max(step.row for step in steps) >= 3
    read = sum(len(step.prompt_token_ids) for step in steps)
    system = len(tokenizer.encode(trajectories[0].system_prompt))
    new_rows = sum(t.steps[-1].row for t in trajectories)
    assert generator.usage.prompt_tokens <= read + len(steps) - new_rows * system
    for trajectory in trajectories:
        for ids, _ in rows_of(trajectory):
            assert tokenizer.decode(ids).startswith(f"<|system|>{trajectory.system_prompt}<|user|>")


def test_maximum_response_and_row_length(tiny):
    model, tokenizer = tiny
    cut = play(HFGenerator(model, tokenizer, max_response_tokens=2), 20)
    assert StopReason.RESPONSE_TOKENS in {t.stop_reason for t in cut}
    for trajectory in cut:
        last = trajectory.steps[-1]
        assert (trajectory.stop_reason == StopReason.RESPONSE_TOKENS) == (last.finish_reason == "length")
    full = play(HFGenerator(model, tokenizer, max_response_tokens=12, max_row_tokens=90), 20, limits=CONTINUE)
    assert StopReason.ROW_TOKENS in {t.stop_reason for t in full}
    assert max(len(ids) for t in full for ids, _ in rows_of(t)) <= 90
    assert_equals_forward(model, full)


def test_models_that_need_more_than_a_causal_mask_are_refused(tiny):
    model, tokenizer = tiny_model()
    model.config.layer_types = ["sliding_attention", "full_attention"]
    model.config.sliding_window = 64
    with pytest.raises(ConfigError, match="64"):
        HFGenerator(model, tokenizer)
    HFGenerator(model, tokenizer, max_row_tokens=64)
    model.config.layer_types, model.config.use_sliding_window = None, True
    with pytest.raises(ConfigError, match="64"):
        HFGenerator(model, tokenizer)
    model.config.use_sliding_window = False
    HFGenerator(model, tokenizer)
    model.config.layer_types = ["linear_attention", "full_attention"]
    with pytest.raises(ConfigError, match="linear_attention"):
        HFGenerator(model, tokenizer)


def test_models_whose_positions_depend_on_the_row_are_refused_for_long_rows(tiny):
    model, tokenizer = tiny_model()
    model.config.rope_parameters = {"rope_type": "longrope", "original_max_position_embeddings": 128}
    with pytest.raises(ConfigError, match="128"):
        HFGenerator(model, tokenizer, max_row_tokens=129)
    HFGenerator(model, tokenizer, max_row_tokens=128)


def test_a_failure_leaves_nothing_in_the_cache(tiny):
    model, tokenizer = tiny_model()
    generator = HFGenerator(model, tokenizer, max_response_tokens=4)
    healthy = {name: weight.clone() for name, weight in model.state_dict().items()}

    async def run():
        first, second = generator.session(None, 0), generator.session(None, 1)
        await first.act([{"role": "user", "content": "go"}])
        with torch.no_grad():
            model.model.layers[0].self_attn.v_proj.weight.fill_(torch.nan)
        with pytest.raises(AgentError, match="finite"):
            await second.act([{"role": "user", "content": "a longer way to go"}])
        model.load_state_dict(healthy)
        return await generator.session(None, 2).act([{"role": "user", "content": "go"}])

    assert np.isfinite(asyncio.run(run()).logprobs).all()


def test_the_cache_holds_at_most_a_partial_block_more_than_the_tokens(tiny):
    model, tokenizer = tiny
    generator = HFGenerator(model, tokenizer, max_response_tokens=12, max_row_tokens=90)
    engine = generator._engine
    passes = 0

    def checked(run):
        def step():
            nonlocal passes
            ended = run()
            tokens = engine._slots.length[engine._slots.blocks > 0]
            assert engine.cache.used == engine._slots.blocks.sum() <= sum(blocks_of(int(count) + 1 + _GUESSES) for count in tokens)
            passes += 1
            return ended

        return step

    engine.step = checked(engine.step)
    play(generator, 8, limits=CONTINUE)
    assert passes > 10


def test_reading_passes_are_bounded_by_the_positions_they_see(tiny, monkeypatch):
    model, tokenizer = tiny
    want = play(HFGenerator(model, tokenizer, max_response_tokens=12), 12, limits=CONTINUE)
    generator = HFGenerator(model, tokenizer, max_response_tokens=12, max_read_tokens=40)
    seen = []
    forward = Forward.__call__

    def record(self, batch, cache, **options):
        prompts = batch.counts - batch.wanted + 1
        reading = prompts > 1
        if reading.any():
            seen.append((int(reading.sum()), int((batch.starts + prompts)[reading].max())))
        return forward(self, batch, cache, **options)

    monkeypatch.setattr(Forward, "__call__", record)
    got = play(generator, 12, limits=CONTINUE)
    assert [[step.response for step in t.steps] for t in got] == [[step.response for step in t.steps] for t in want]
    assert max(rows for rows, _ in seen) > 1
    assert all(rows == 1 or rows * span <= 8 * 40 for rows, span in seen)


def test_guessed_tokens_change_the_number_of_passes_only(monkeypatch):
    """Responses that were given before are guessed well; wrong guesses at random cost nothing but time."""
    model, tokenizer = tiny_model()
    model.lm_head.bias.data[tokenizer.eos_token_id] = 0
    guessed = HFGenerator(model, tokenizer, max_response_tokens=12, temperature=0.0)
    monkeypatch.setattr(Drafter, "clear", lambda self: None)  # as if all episodes were of one rollout
    want = play(guessed, 2, limits=CONTINUE, concurrency=1)
    assert_equals_forward(model, want)
    first, tokens = guessed.usage.forwards, guessed.usage.response_tokens
    again = play(guessed, 2, limits=CONTINUE, concurrency=1)
    second = guessed.usage.forwards - first
    assert tokens_of(again) == tokens_of(want)
    draw = np.random.default_rng(0)
    passes = []
    for guess in (
        lambda self, ids, count, topic: [],
        lambda self, ids, count, topic: draw.integers(len(tokenizer), size=draw.integers(min(count, 4) + 1)).tolist(),
        lambda self, ids, count, topic: [tokenizer.eos_token_id] * min(count, 2),
    ):
        monkeypatch.setattr(Drafter, "guess", guess)
        other = HFGenerator(model, tokenizer, max_response_tokens=12, temperature=0.0)
        got = play(other, 2, limits=CONTINUE, concurrency=1)
        assert tokens_of(got) == tokens_of(want)
        for one, two in zip(got, want, strict=True):
            for a, b in zip(one.steps, two.steps, strict=True):
                np.testing.assert_allclose(a.logprobs, b.logprobs, atol=1e-4, rtol=0)
        assert other.usage.response_tokens == tokens
        passes.append(other.usage.forwards)
    assert second < 0.7 * passes[0]


def test_responses_with_guesses_have_the_models_distribution(monkeypatch):
    """Guesses at random, half of them wrong, against the exact probabilities of all sequences of three tokens."""
    model, tokenizer = tiny_model()
    likely, length, draws = (5, 6, 7, 8), 3, 1200
    bias = torch.full_like(model.lm_head.bias, -40.0)
    bias[list(likely)] = 0.0
    model.lm_head.bias.data = bias
    draw = np.random.default_rng(0)
    monkeypatch.setattr(Drafter, "guess", lambda self, ids, count, topic: draw.choice(likely, size=min(count, 2)).tolist())
    generator = HFGenerator(model, tokenizer, max_response_tokens=length, max_batch=draws)

    async def respond():
        sessions = [generator.session(None, seed) for seed in range(draws)]
        return await asyncio.gather(*(session.act([{"role": "user", "content": "go"}]) for session in sessions))

    answers = asyncio.run(respond())
    assert generator.usage.forwards < length + 1
    prompt = torch.from_numpy(answers[0].prompt_token_ids).long()
    sequences = torch.cartesian_prod(*[torch.tensor(likely)] * length)
    with torch.no_grad():
        logits = model(torch.cat([prompt.expand(len(sequences), -1), sequences], dim=1)).logits[:, len(prompt) - 1 : -1]
    expected = draws * logits.log_softmax(-1).gather(-1, sequences[..., None]).squeeze(-1).sum(-1).exp().double()
    assert float(expected.sum()) == pytest.approx(draws)
    drawn = torch.tensor(np.array([answer.token_ids for answer in answers]))
    counts = (drawn[:, None] == sequences).all(-1).sum(0)
    large = expected >= 5
    cells = [(counts[large], expected[large]), (counts[~large].sum(), expected[~large].sum())]
    statistic = sum(float(((count - want) ** 2 / want).sum()) for count, want in cells if want.sum() > 0)
    freedom = int(large.sum())
    assert freedom > 10
    assert statistic < freedom + 4 * (2 * freedom) ** 0.5


def test_limits_are_checked(tiny):
    for name in ("max_response_tokens", "max_row_tokens", "max_batch", "max_read_tokens"):
        with pytest.raises(ConfigError, match=name):
            HFGenerator(*tiny, **{name: 0})


def test_usage_counts_passes_and_tokens(tiny):
    generator = HFGenerator(*tiny, max_response_tokens=12)
    before = dataclasses.replace(generator.usage)
    trajectories = play(generator, 16, limits=CONTINUE)
    steps = [step for t in trajectories for step in t.steps]
    assert generator.usage.responses - before.responses == len(steps)
    assert generator.usage.response_tokens == sum(len(step.response_token_ids) for step in steps)
    # Each token of a row is read once: the prompts in reading passes, with the last token of the response before them.
    assert generator.usage.prompt_tokens == sum(len(step.prompt_token_ids) for step in steps) + len(steps) - len(trajectories)
