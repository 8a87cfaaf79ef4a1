"""The generator against a plain forward pass, alone and through `Rollout`."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from empg_gym.errors import AgentError, ConfigError, RowOverflowError
from empg_gym.rollout import EpisodeSpec, Limits, Rollout
from empg_gym.trainers.generate.base import Generator
from empg_gym.trainers.generate.hf import HFGenerator
from empg_gym.trainers.generate.sampling import Sampling
from empg_gym.trajectory import StopReason, Trajectory
from tests.generate.worlds import forward_row, make_env, tiny_model


@pytest.fixture(scope="module")
def tiny():
    return tiny_model()


def play(generator, count=12, *, history=None, concurrency=32, limits=None, first=0, max_steps=6) -> list[Trajectory]:
    rollout = Rollout(lambda: make_env(history, max_steps), generator, limits=limits, concurrency=concurrency, retries=0)
    return rollout.run([EpisodeSpec(seed=seed) for seed in range(first, first + count)])


def rows_of(trajectory: Trajectory) -> list[tuple[list[int], list[tuple[int, int, int]]]]:
    """Each row's ids with (step, begin, end) of its responses."""
    rows: list[tuple[list[int], list[tuple[int, int, int]]]] = []
    for index, step in enumerate(trajectory.steps):
        if step.row == len(rows):
            rows.append(([], []))
        ids, spans = rows[step.row]
        ids.extend(step.prompt_token_ids.tolist())
        spans.append((index, len(ids), len(ids) + len(step.response_token_ids)))
        ids.extend(step.response_token_ids.tolist())
    return rows


def assert_equals_forward(model, trajectories, sampling=None, tolerance=1e-4) -> int:
    """Check log-probabilities and entropies of every generated token; returns their number."""
    checked = 0
    for trajectory in trajectories:
        for ids, spans in rows_of(trajectory):
            logp, entropy = forward_row(model, ids, sampling)
            for index, begin, end in spans:
                step = trajectory.steps[index]
                expected = logp[torch.arange(begin - 1, end - 1), torch.tensor(ids[begin:end])].numpy()
                np.testing.assert_allclose(step.logprobs, expected, atol=tolerance, rtol=0)
                np.testing.assert_allclose(step.entropies, entropy[begin - 1 : end - 1].numpy(), atol=tolerance, rtol=0)
                checked += end - begin
    return checked


@pytest.mark.parametrize("temperature", [1.0, 0.6, 1.7])
def test_logprobs_and_entropies_equal_a_forward_pass(tiny, temperature):
    model, tokenizer = tiny
    generator = HFGenerator(model, tokenizer, temperature=temperature, max_response_tokens=20)
    trajectories = play(generator, 32, limits=Limits(end_on_cut_response=False))
    assert assert_equals_forward(model, trajectories, Sampling(temperature=temperature)) > 500
    assert {len(step.response_token_ids) for t in trajectories for step in t.steps} >= {1, 2, 3, 20}
    assert {step.finish_reason for t in trajectories for step in t.steps} == {"stop", "length"}


def test_decoded_ids_are_the_text(tiny):
    model, tokenizer = tiny
    for trajectory in play(HFGenerator(model, tokenizer, max_response_tokens=20)):
        for step in trajectory.steps:
            ids = step.response_token_ids.tolist()
            stopped = ids[-1] == tokenizer.eos_token_id
            assert (step.finish_reason == "stop") == stopped
            assert tokenizer.decode(ids[:-1] if stopped else ids) == step.response
            assert tokenizer.eos_token_id not in ids[:-1]
            assert step.completion_tokens == len(ids) == len(step.logprobs) == len(step.entropies)
