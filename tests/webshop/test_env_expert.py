"""The expert that searches as an agent would."""

from __future__ import annotations

import gymnasium as gym
import pytest

import empg_gym  # noqa: F401 (registers the ids)
from empg_gym.errors import ConfigError


def test_the_searching_expert_uses_only_the_instruction_and_still_buys():
    env = gym.make("EMPG/WebShop-v0", num_products=200, expert="search").unwrapped
    solved = 0
    for seed in range(40):
        _, info = env.reset(seed=seed)
        first = env.expert()
        while (action := env.expert()) is not None and env.step(action)[2:4] == (False, False):
            pass
        if first is not None:
            query = first.removeprefix("search[").removesuffix("]")
            assert info["instruction"].startswith(query)
            solved += env.success
    assert solved >= 20


def test_an_unknown_kind_of_expert_is_named():
    with pytest.raises(ConfigError, match="search"):
        gym.make("EMPG/WebShop-v0", expert="serch")
