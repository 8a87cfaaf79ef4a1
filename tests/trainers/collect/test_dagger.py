"""Episodes that the policy and the expert play together."""

import contextlib

import numpy as np
import pytest
import torch

from empg_gym.trainers.collect.dagger import AccompaniedPolicy, DaggerEpisodes
from empg_gym.trainers.collect.demonstrations import DETOUR, supervised_rows
from empg_gym.trainers.data.rows import rows_of
from empg_gym.trainers.generate.hf import HFGenerator
from empg_gym.trainers.run.bundle import PolicyBundle
from empg_gym.trajectory import StopReason
from tests.trainers.corridor import corridor_config
from tests.trainers.generate.worlds import forward_row, play, tiny_model


@pytest.fixture(scope="module")
def generator():
    return HFGenerator(*tiny_model(), max_response_tokens=4)


@pytest.fixture(scope="module")
def shared():
    config = corridor_config("unused", warmstart={"episodes_per_step": 40, "dagger": 1.0})
    bundle = PolicyBundle(config)
    generator = HFGenerator(bundle.model, bundle.tokenizer, max_response_tokens=4)
    with contextlib.closing(DaggerEpisodes(config, generator, publish=lambda: None)) as episodes:
        return bundle.model, episodes.play(0)


def test_both_act_and_the_expert_is_learned(shared):
    _, episodes = shared
    for item in episodes:
        for colour, step in zip(item.task.split("-"), item.steps, strict=False):
            assert (DETOUR in step.diagnostics) == (step.response != f"use {colour} key")
            assert step.logprobs is not None or DETOUR not in step.diagnostics
    assert 0.2 < np.mean([step.logprobs is not None for item in episodes for step in item.steps]) < 0.8
    _, weights = supervised_rows(episodes)
    assert 0 < int((weights > 0).sum()) < len(weights)


def check_logprobs(model, trajectory) -> int:
    """Compare the policy's log-probabilities with a pass over the whole rows; return how many of its steps follow one of the expert."""
    followed = 0
    for row in rows_of(trajectory):
        logp, _ = forward_row(model, row.ids.tolist())
        for index in row.step[row.generated].unique().tolist():
            step = trajectory.steps[index]
            places = (row.generated & (row.step == index)).nonzero()[:, 0]
            assert row.ids[places].tolist() == step.response_token_ids.tolist()
            if step.logprobs is not None:
                expected = logp[places - 1, row.ids[places]].float()
                torch.testing.assert_close(torch.tensor(step.logprobs), expected, atol=1e-4, rtol=1e-4)
                followed += index > 0 and trajectory.steps[index - 1].logprobs is None
    return followed


def test_the_policy_has_read_what_the_expert_did(shared):
    model, episodes = shared
    assert sum(check_logprobs(model, item) for item in episodes) > 3


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_one_of_them_alone(generator, share):
    for item in play(AccompaniedPolicy(generator, share), 6):
        assert all((step.logprobs is not None) == bool(share) for step in item.steps)
        if not share:
            assert item.success and len(item.steps) == 1


def test_an_answer_that_does_not_fit_is_not_marked_on_the_step_before():
    config = corridor_config("unused", warmstart={"episodes_per_step": 60, "dagger": 1.0}, rollout={"max_row_tokens": 20})
    bundle = PolicyBundle(config)
    generator = HFGenerator(bundle.model, bundle.tokenizer, max_response_tokens=4, max_row_tokens=20)
    with contextlib.closing(DaggerEpisodes(config, generator, publish=lambda: None)) as episodes:
        found = episodes.play(0)
    cut = [item for item in found if item.stop_reason is StopReason.ROW_TOKENS]
    assert sum(item.steps[-1].logprobs is None for item in cut) > 2  # the expert's step, after which the policy had no room
    for item in found:
        assert all(DETOUR not in step.diagnostics or step.logprobs is not None for step in item.steps)


def test_episodes_are_a_function_of_step_and_weights():
    config = corridor_config("unused", warmstart={"steps": 8, "episodes_per_step": 6, "dagger": 1.0})
    bundle = PolicyBundle(config)
    published = []
    generators = [HFGenerator(bundle.model, bundle.tokenizer, max_response_tokens=4) for _ in range(2)]
    one, two = (DaggerEpisodes(config, generator, publish=lambda: published.append(1)) for generator in generators)
    whole, ends = [], []
    for step in range(8):
        whole.append(one.play(step))
        ends.append(one.is_between_blocks)
    assert len(published) == 2 and [step for step, is_end in enumerate(ends) if is_end] == [4, 7]
    resumed = [two.play(step) for step in (5, 6, 7)]
    assert len(published) == 3 and all(len(episodes) == 6 for episodes in whole + resumed)
    texts = [[[(item.task, step.response) for step in item.steps] for item in episodes] for episodes in whole + resumed]
    assert texts[5:8] == texts[8:]
    assert len({str(episodes) for episodes in texts[:8]}) == 8
    one.close()
    two.close()
