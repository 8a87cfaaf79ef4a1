"""Expert episodes as rows: the expert's tokens are learned, detours are seen and not learned."""

import numpy as np
import pytest
import torch

from empg_gym.errors import DataError
from empg_gym.trainers.collect.demonstrations import DETOUR, demonstrate, demonstrations, supervised_rows, tokenizer_texts
from empg_gym.trainers.generate.chat import ChatCodec
from empg_gym.trainers.policy.models import FromScratch, load_model
from tests.trainers.corridor import Corridor, corridor_config

CONFIG = corridor_config("unused", warmstart={"detours": 0.3, "episodes": 40, "only_solved": False})


@pytest.fixture(scope="module")
def env():
    return CONFIG.env.recipe().make()


@pytest.fixture(scope="module")
def codec(env):
    texts = tokenizer_texts(env, 20, seed=0, detours=0.0)
    return ChatCodec(load_model(from_scratch=FromScratch(layers=1, width=32, heads=2), tokenizer_texts=texts)[1])


def test_an_episode_depends_only_on_its_index(env, codec):
    one, other = (demonstrate(env, 5, seed=1, detours=0.3, tokenizer=codec) for _ in range(2))
    demonstrate(env, 6, seed=1, detours=0.3)
    assert [step.action for step in one.steps] == [step.action for step in other.steps]
    assert [step.response_token_ids.tolist() for step in one.steps] == [step.response_token_ids.tolist() for step in other.steps]


def test_rows_contain_the_responses(env, codec):
    trajectory = demonstrate(env, 0, seed=0, detours=0.0, tokenizer=codec)
    assert trajectory.success
    for step in trajectory.steps:
        assert codec.decode(step.response_token_ids[:-1].tolist()) == step.response
        assert step.response_token_ids[-1] == codec.end_of_turn


def test_the_expert_thinks_aloud_if_asked(codec):
    recipe = CONFIG.env.model_copy(
        update={"id": "EMPG/ALFWorld-v0", "options": {"expert": "search"}, "embedded_options": {"size": "small"}}
    )
    env = recipe.recipe().make()
    silent, aloud = (demonstrate(env, 3, seed=0, detours=0.0, thoughts=thoughts) for thoughts in (False, True))
    assert [step.action for step in aloud.steps] == [step.action for step in silent.steps]
    assert not any(step.thought for step in silent.steps)
    assert all(step.thought and step.response == f"<think>{step.thought}</think>{step.action}" for step in aloud.steps)


def test_detours_are_in_the_row_but_not_in_the_loss(env, codec):
    episodes = list(demonstrations(env, codec.tokenizer, CONFIG.warmstart, seed=0))
    steps = [step for item in episodes for step in item.steps]
    share = np.mean([DETOUR in step.diagnostics for step in steps])
    assert 0.15 < share < 0.45
    rows, weights = supervised_rows(episodes)
    expected = torch.cat([torch.full((len(step.response_token_ids),), float(DETOUR not in step.diagnostics)) for step in steps])
    torch.testing.assert_close(weights, expected / expected.sum())
    assert len(weights) == sum(int(row.generated.sum()) for row in rows)


def test_observations_can_be_learned_too(env, codec):
    episodes = [demonstrate(env, index, seed=0, detours=0.5, tokenizer=codec) for index in range(6)]
    rows, weights = supervised_rows(episodes, observation_weight=0.5)
    assert all(row.generated.tolist() == [False] + [True] * (len(row) - 1) for row in rows)
    assert len(weights) == sum(len(row) - 1 for row in rows)
    assert float(weights.sum()) == pytest.approx(1.0)
    values = (weights / weights.max()).unique().tolist()
    assert values == pytest.approx([0.0, 0.5, 1.0])


def test_a_warm_start_without_solved_episodes_is_an_error(env, codec, monkeypatch):
    solved_only = CONFIG.warmstart.model_copy(update={"only_solved": True, "episodes": 3, "detours": 0.0})
    monkeypatch.setattr(Corridor, "expert", lambda self: None if self._opened else f"use {self._signs[0]} key")
    with pytest.raises(DataError, match="solved none of 3 episodes of Corridor"):
        list(demonstrations(env, codec.tokenizer, solved_only, seed=0))
    monkeypatch.setattr(Corridor, "expert", lambda self: None)
    with pytest.raises(DataError, match=r"Corridor has no expert to learn from: give recorded episodes \(warmstart.trajectories\)"):
        list(demonstrations(env, codec.tokenizer, solved_only, seed=0))
