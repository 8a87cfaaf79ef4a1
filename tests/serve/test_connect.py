"""`empg_gym.connect`: a served environment is indistinguishable from the local one, and says what to do when the server fails."""

from __future__ import annotations

import random

import gymnasium as gym
import pytest
from gymnasium.utils.env_checker import check_env

import empg_gym
from empg_gym import LLMAgentEnv
from empg_gym.errors import ConfigError, EMPGGymError, EnvironmentFailure, TaskError
from empg_gym.net.server import listen
from empg_gym.recipe import EnvRecipe
from empg_gym.serve.client import Sessions
from tests import toy
from tests.serve.serving import BENCHMARKS, serving


@pytest.fixture(scope="module")
def addresses():
    with serving(*(EnvRecipe(env_id) for env_id in BENCHMARKS.values())) as (url, _):
        yield {name: f"{url}/env{number}" for number, name in enumerate(BENCHMARKS)}


@pytest.fixture(scope="module")
def alfworld(addresses):
    return addresses["alfworld"]


def _action(env, info, rng):
    chosen = rng.random()
    if chosen < 0.6 and (action := env.unwrapped.expert()) is not None:
        return action
    if chosen < 0.9 and info["admissible_actions"]:
        return rng.choice(info["admissible_actions"])
    return rng.choice(["", "fly", "search[<b>\u00e9\U0001f600\udc80]", "<answer>\x00\n</answer>"])


@pytest.mark.parametrize("name", BENCHMARKS)
def test_equals_the_local_environment(addresses, name):
    local, remote = gym.make(BENCHMARKS[name]), empg_gym.connect(addresses[name])
    rng = random.Random(0)
    assert remote.spec.id == local.spec.id
    assert (remote.observation_space, remote.action_space) == (local.observation_space, local.action_space)
    for seed in [*range(10), 2**70]:
        given, wanted = remote.reset(seed=seed), local.reset(seed=seed)
        assert given == wanted
        ended = False
        while not ended:
            action = _action(local, wanted[-1], rng)
            given, wanted = remote.step(action), local.step(action)
            assert given == wanted
            assert [type(part) for part in given] == [type(part) for part in wanted]
            assert list(given[-1]) == list(wanted[-1])
            assert {key: type(value) for key, value in given[-1].items()} == {key: type(value) for key, value in wanted[-1].items()}
            assert remote.unwrapped.state_key() == local.unwrapped.state_key()
            ended = wanted[2] or wanted[3]
    for attribute in (
        "benchmark",
        "version",
        "fingerprint",
        "splits",
        "split",
        "rules",
        "tools",
        "num_tasks",
        "max_steps",
        "native_protocol",
    ):
        assert getattr(remote.unwrapped, attribute) == getattr(local.unwrapped, attribute)
    for attribute in ("task", "instruction", "success", "score", "task_type", "notice"):
        assert getattr(remote.unwrapped, attribute) == getattr(local.unwrapped, attribute)
    assert remote.unwrapped.task_key() == local.unwrapped.task_key()
    assert remote.unwrapped.task_id(3) == local.unwrapped.task_id(3)
    remote.close()


def test_resets_without_a_seed_go_on_as_locally(alfworld):
    local, remote = gym.make("EMPG/ALFWorld-v0"), empg_gym.connect(alfworld)
    assert remote.reset(seed=5) == local.reset(seed=5)
    for _ in range(3):
        assert remote.reset() == local.reset()
    remote.close()


@pytest.mark.parametrize("name", BENCHMARKS)
@pytest.mark.filterwarnings("ignore:.*")
def test_check_env(addresses, name):
    env = empg_gym.connect(addresses[name], render_mode="ansi")
    check_env(env.unwrapped)


def test_split_and_task_by_id(alfworld):
    remote = empg_gym.connect(alfworld, split="valid_seen")
    local = gym.make("EMPG/ALFWorld-v0", split="valid_seen")
    task = local.unwrapped.task_id(7)
    assert remote.reset(options={"task": task}) == local.reset(options={"task": task}) == remote.reset(options={"task": 7})
    assert remote.unwrapped.split == "valid_seen"
    remote.close()


def test_an_agent_plays_through_it(alfworld):
    trajectories = []
    for env in (gym.make("EMPG/ALFWorld-v0"), empg_gym.connect(alfworld)):
        agent_env = LLMAgentEnv(env)
        _, info = agent_env.reset(seed=1)
        for action in info["admissible_actions"][:2]:
            agent_env.step(f"<think>try</think><action>{action}</action>")
        agent_env.step("nonsense")
        trajectories.append(agent_env.trajectory)
    local, remote = trajectories
    assert [step.observation for step in remote.steps] == [step.observation for step in local.steps]
    assert (remote.data_fingerprint, remote.task, remote.env_id) == (local.data_fingerprint, local.task, local.env_id)


@pytest.mark.parametrize(
    "act",
    [
        lambda env: env.reset(options={"task": 10**9}),
        lambda env: env.reset(options={"task": "nowhere"}),
        lambda env: env.reset(options={"tusk": 1}),
        lambda env: env.reset(options={"task": True}),
        lambda env: env.reset(seed=-1),
        lambda env: (env.reset(seed=0), env.step(7)),
        lambda env: env.unwrapped.task,
        lambda env: env.step("look"),
    ],
)
def test_wrong_use_is_the_local_error(alfworld, act):
    raised = []
    for env in (gym.make("EMPG/ALFWorld-v0", disable_env_checker=True), empg_gym.connect(alfworld)):
        with pytest.raises((EMPGGymError, gym.error.Error)) as caught:
            act(env)
        raised.append((caught.type, str(caught.value)))
        assert env.reset(seed=1)[0]
        env.close()
    assert raised[0] == raised[1]


def test_a_served_environment_can_not_be_branched_and_has_no_expert(alfworld):
    env = empg_gym.connect(alfworld)
    env.reset(seed=0)
    assert env.unwrapped.expert() is None and env.unwrapped.gold_answer() is None
    with pytest.raises(ConfigError, match="can't be branched"):
        env.unwrapped.snapshot()
    sessions = Sessions(alfworld)
    sessions.ask(0, "open", None)
    for call in ("expert", "gold_answer", "snapshot", "restore", "_load", "__class__", "close_all"):
        with pytest.raises(ConfigError, match="a session has no call"):
            sessions.ask(0, call)
        with pytest.raises(ConfigError, match="these arguments"):
            sessions.ask(0, "get", call)
    sessions.close()
    env.close()


def test_unknown_split(alfworld):
    with pytest.raises(ConfigError, match="did you mean 'valid_seen'"):
        empg_gym.connect(alfworld, split="valid_sen")


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "ftp://host/", "http://", "http://host:99999", None, 3])
def test_addresses_that_are_none(url):
    with pytest.raises(ConfigError, match="looks like http://"):
        empg_gym.connect(url)


def test_no_server():
    listener = listen("127.0.0.1", 0)  # bound, not listening
    with pytest.raises(EnvironmentFailure, match=r"no server answers at .* start one with: empg-gym serve env NAME"):
        empg_gym.connect(f"http://127.0.0.1:{listener.getsockname()[1]}")
    listener.close()


def test_an_address_without_its_environment(alfworld):
    with pytest.raises(EnvironmentFailure, match=r"several environments: add the name of one to the address .*/env0, /env1"):
        empg_gym.connect(alfworld.removesuffix("/env0"))


def test_a_server_of_something_else():
    import threading
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Quiet(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(404)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with pytest.raises(EnvironmentFailure, match="isn't an EMPG Gym server; check the address"):
        empg_gym.connect(f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    server.server_close()


def test_a_full_server_says_so_and_has_room_again_after_a_close():
    with serving(max_sessions=1) as (url, slots):
        first = empg_gym.connect(url)
        with pytest.raises(EnvironmentFailure, match=r"full \(1 sessions\): try again later"):
            empg_gym.connect(url)
        first.reset(seed=0)
        first.close()
        _until(lambda: slots.open == 0)
        empg_gym.connect(url).close()


def test_a_server_that_restarts_loses_the_episode_and_takes_the_next_reset():
    with serving() as (url, _):
        env = empg_gym.connect(url)
        expected = env.reset(seed=3)
    port = int(url.rpartition(":")[2])
    with pytest.raises(EnvironmentFailure, match=r"was lost .* reset\(\) starts another"):
        env.step("look")
    with pytest.raises(EnvironmentFailure, match=r"reset\(\) connects again"):
        env.step("look")
    with pytest.raises(EnvironmentFailure, match="no server answers"):
        env.reset(seed=3)
    with serving(port=port):
        assert env.reset(seed=3) == expected
        env.step("look")
    with serving(EnvRecipe("EMPG/WebShop-v0"), port=port), pytest.raises(EnvironmentFailure, match=r"lost|now has another env_id"):
        env.step("look")
    with serving(EnvRecipe("EMPG/WebShop-v0"), port=port), pytest.raises(EnvironmentFailure, match="now has another env_id"):
        env.reset(seed=3)


def test_an_idle_session_is_closed_and_the_client_told():
    with serving(idle_seconds=1) as (url, slots):
        env = empg_gym.connect(url)
        _until(lambda: slots.open == 0)
        with pytest.raises(EnvironmentFailure, match=r"no message for 1 seconds"):
            env.reset(seed=0)


def test_a_token_is_needed_and_sent(monkeypatch):
    with serving(token="a-secret-of-some-length") as (url, _):
        with pytest.raises(EnvironmentFailure, match="needs a token"):
            empg_gym.connect(url)
        with pytest.raises(EnvironmentFailure, match="needs a token"):
            empg_gym.connect(url, token="another")
        empg_gym.connect(url, token="a-secret-of-some-length").close()
        monkeypatch.setenv("EMPG_GYM_TOKEN", "a-secret-of-some-length")
        empg_gym.connect(url).close()


def test_an_action_larger_than_a_message():
    with serving(max_message=2000) as (url, _):
        env = empg_gym.connect(url)
        env.reset(seed=0)
        with pytest.raises(EnvironmentFailure, match="larger than it accepts"):
            env.step("x" * 3000)
        assert env.reset(seed=0)[0]
        env.close()


def test_an_environment_that_breaks_ends_its_session_alone():
    recipe = EnvRecipe("tests.toy:Test/Doors-v0", {"fail_on": "kick"})
    assert recipe.env_id == toy.TOY_ID
    with serving(recipe) as (url, slots):
        env, other = empg_gym.connect(url), empg_gym.connect(url)
        for one in (env, other):
            one.reset(seed=0)
        with pytest.raises(EnvironmentFailure, match="the environment failed in 'step': RuntimeError: the door fell off"):
            env.step("kick")
        other.step("open door 1")
        env.reset(seed=0)
        assert slots.open == 2
        for one in (env, other):
            one.close()


def test_step_after_the_end_and_task_error_kind(alfworld):
    sessions = Sessions(alfworld)
    with pytest.raises(TaskError, match="session 4 is not open"):
        sessions.ask(4, "step", "look")
    sessions.close()


def _until(condition):
    import time

    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
