"""`connect_batch`: sessions that step together are the sessions that step alone."""

from __future__ import annotations

import gymnasium as gym
import pytest

from empg_gym.errors import ConfigError, EnvironmentFailure, TaskError
from empg_gym.recipe import EnvRecipe
from empg_gym.serve.batch import connect_batch
from tests.serve.serving import serving


@pytest.fixture(scope="module")
def url():
    with serving(max_calls=7, max_message=4096) as (url, _):
        yield url


@pytest.mark.parametrize("connections", [1, 3, None])
def test_each_session_equals_a_local_environment(url, connections):
    count = 20
    batch = connect_batch(url, count, connections=connections)
    local = [gym.make("EMPG/ALFWorld-v0") for _ in range(count)]
    starts = batch.reset(seeds=range(count))
    assert len(batch) == count and starts == [env.reset(seed=seed) for seed, env in enumerate(local)]
    running = set(range(count))
    for turn in range(12):
        actions = {n: local[n].unwrapped.expert() or "look" for n in sorted(running, reverse=turn % 2 == 0) if (n + turn) % 3}
        outcomes = batch.step(actions)
        assert outcomes == [local[n].step(action) for n, action in actions.items()]
        running -= {n for n, outcome in zip(actions, outcomes, strict=True) if outcome[2]}
    assert len(running) < count
    again = batch.reset({3: 7, 1: None}, tasks={1: 5})
    assert again == [local[3].reset(seed=7), local[1].reset(options={"task": 5})]
    batch.close()


def test_long_actions_are_sent_in_several_messages(url):
    batch, local = connect_batch(url, 4), gym.make("EMPG/ALFWorld-v0")
    batch.reset(seeds=[0] * 4)
    local.reset(seed=0)
    assert batch.step(["x" * 3000] * 4) == [local.step("x" * 3000)] * 4
    with pytest.raises(EnvironmentFailure, match="larger than it accepts"):
        batch.step(["x" * 5000] * 4)
    batch.close()


def test_wrong_use(url):
    with pytest.raises(ConfigError, match="count must be an integer"):
        connect_batch(url, 0)
    batch = connect_batch(url, 3)
    with pytest.raises(TaskError, match="before calling"):
        batch.step(["look"] * 3)
    batch.reset(seeds=[1, 2, 3])
    with pytest.raises(ConfigError, match="has 3 sessions"):
        batch.step(["look"] * 2)
    with pytest.raises(ConfigError, match=r"sessions 0\.\.2, not 3"):
        batch.step({3: "look"})
    with pytest.raises(TaskError, match="no task"):
        batch.reset({0: 1}, tasks={0: "nowhere"})
    assert len(batch.step(["look"] * 3)) == 3
    batch.close()


def test_a_server_without_room_for_all_keeps_none():
    with serving(EnvRecipe("EMPG/WebShop-v0"), max_sessions=3) as (url, slots):
        with pytest.raises(EnvironmentFailure, match="full"):
            connect_batch(url, 4)
        _until(lambda: slots.open == 0)
        connect_batch(url, 3).close()


def _until(condition):
    import time

    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
