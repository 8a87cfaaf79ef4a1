"""The protocol of OpenEnv, spoken with its real client: the same episodes as locally, and a sentence for every wrong request."""

from __future__ import annotations

import json
import random
import threading
import time

import gymnasium as gym
import httpx
import pytest
from openenv.cli.__main__ import app as openenv_command
from openenv.core import GenericEnvClient
from typer.testing import CliRunner

import empg_gym
from empg_gym.errors import EnvironmentFailure
from empg_gym.serve.websocket import Closed, WebSocket
from tests.openenv.serving import serving


def as_local(result, step=True):
    """Return a result of OpenEnv's client as `step` or `reset` returns it."""
    seen = dict(result.observation)
    text, extras, terminated, truncated = (seen.pop(name) for name in ("text", "extras", "terminated", "truncated"))
    seen.pop("metadata")
    assert result.done == (terminated or truncated)
    info = {**seen, **extras}
    return (text, result.reward, terminated, truncated, info) if step else (text, info)


def played(client, env, seed):
    """Play an episode with expert and other actions on both sides; return the number of steps."""
    rng, steps = random.Random(seed), 0
    given, wanted = as_local(client.reset(seed=seed, episode_id=f"episode {seed}"), step=False), env.reset(seed=seed)
    assert given == wanted
    ended = False
    while not ended:
        action = env.unwrapped.expert() if rng.random() < 0.7 else rng.choice([*wanted[-1]["admissible_actions"], "", "\u00e9\U0001f600"])
        wanted = env.step(action or "look")
        given = as_local(client.step({"action": action or "look"}))
        assert given == wanted
        steps += 1
        state = client.state()
        assert (state["episode_id"], state["step_count"], state["task"]) == (f"episode {seed}", steps, env.unwrapped.task)
        assert state["state_key"] == env.unwrapped.state_key()
        ended = wanted[2] or wanted[3]
    return steps


def test_equals_the_local_environment(benchmark):
    _, env_id, url = benchmark
    with GenericEnvClient(base_url=url).sync() as client:
        env = gym.make(env_id)
        assert sum(played(client, env, seed) for seed in range(4)) > 10


def test_sessions_at_the_same_time(benchmark):
    _, env_id, url = benchmark
    failures = []

    def play(seed):
        try:
            with GenericEnvClient(base_url=url).sync() as client:
                played(client, gym.make(env_id), seed)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=play, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert not failures


def test_split_and_task_of_a_reset(benchmark):
    _, env_id, url = benchmark
    split = gym.make(env_id).unwrapped.splits[1]
    env = gym.make(env_id, split=split)
    task = env.unwrapped.task_id(3)
    expected = env.reset(options={"task": task})
    with GenericEnvClient(base_url=url).sync() as client:
        for chosen in ({"index": 3}, {"task": 3}, {"task": task}):
            assert as_local(client.reset(split=split, **chosen), step=False) == expected
        assert client.state()["split"] == split


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"split": "trian"}, "did you mean 'train'"),
        ({"spilt": "train"}, "unknown reset option 'spilt'; did you mean 'split'"),
        ({"task": 10**9}, "has tasks 0.."),
        ({"task": "nowhere"}, "no task 'nowhere'"),
        ({"index": -1}, "has tasks 0.."),
        ({"task": 1, "index": 1}, "not by both"),
        ({"seed": -1}, "seed must be an integer of at least 0"),
        ({"seed": "1"}, "seed must be an integer of at least 0"),
        ({"episode_id": 1}, "episode_id must be a text"),
        ({"split": 3}, "split must be the name of a split"),
    ],
)
def test_a_wrong_reset_is_answered_with_a_sentence(server, data, said):
    with GenericEnvClient(base_url=f"{server}/alfworld").sync() as client:
        with pytest.raises(RuntimeError, match=said):
            client.reset(**data)
        assert client.reset(seed=0).observation["text"]
    if data != {"seed": "1"}:  # which OpenEnv's HTTP route reads as a number
        assert httpx.post(f"{server}/alfworld/reset", json=data, timeout=300).status_code in (400, 422)


def _socket(url):
    return WebSocket(url.replace("http", "ws") + "/ws", headers={}, seconds=300, max_bytes=1 << 26)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", "INVALID_JSON"),
        ('{"type": "fly"}', "UNKNOWN_TYPE"),
        ('{"type": "step", "data": {}}', "VALIDATION_ERROR"),
        ('{"type": "step", "data": {"action": 3}}', "VALIDATION_ERROR"),
        ('{"type": "step", "data": {"action": "look", "more": 1}}', "VALIDATION_ERROR"),
        (json.dumps({"type": "step", "data": {"action": "x" * 70_000}}), "VALIDATION_ERROR"),
        ('{"type": "step", "data": {"action": "look"}}', "EXECUTION_ERROR"),
        ('{"type": "reset", "data": 3}', "VALIDATION_ERROR"),
    ],
)
def test_a_malformed_message_leaves_the_session(server, message, code):
    connection = _socket(f"{server}/alfworld")
    connection.send(message)
    answer = json.loads(connection.receive(300))
    assert (answer["type"], answer["data"]["code"]) == ("error", code)
    connection.send('{"type": "reset"}')
    assert json.loads(connection.receive(300))["type"] == "observation"
    connection.close()


def test_a_lone_surrogate_does_not_end_the_session(server):
    with GenericEnvClient(base_url=f"{server}/webshop").sync() as client:
        client.reset(seed=0)
        connection = client.step({"action": "search[\U0001f600 shoes \ufffd]"})
        assert connection.observation["valid_action"]
    connection = _socket(f"{server}/webshop")
    for message in ('{"type": "reset"}', r'{"type": "step", "data": {"action": "search[\ud800]"}}'):
        connection.send(message)
        assert json.loads(connection.receive(300))["type"] == "observation"
    connection.close()


def test_http_has_no_session(server):
    url = f"{server}/alfworld"
    assert "Welcome" in httpx.post(f"{url}/reset", json={"seed": 1}, timeout=300).json()["observation"]["text"]
    answer = httpx.post(f"{url}/step", json={"action": {"action": "look"}}, timeout=300)
    assert answer.status_code == 400 and "play over the WebSocket /ws" in answer.json()["detail"]
    assert httpx.get(f"{url}/state", timeout=300).json()["task"] is None
    assert (
        httpx.post(f"{url}/reset", content=b"x" * (2 << 20), headers={"content-type": "application/json"}, timeout=300).status_code == 413
    )


def test_tasks(benchmark):
    name, env_id, url = benchmark
    base = f"{url}/{name}"
    splits = [split["name"] for split in httpx.get(f"{base}/splits", timeout=300).json()]
    assert "train" in splits and set(splits) <= set(gym.make(env_id).unwrapped.splits)
    assert httpx.get(f"{url}/list_environments", timeout=300).json() == [name]
    for split in splits:
        env = gym.make(env_id, split=split).unwrapped
        ask = lambda route, split=split, **data: httpx.post(f"{base}/{route}", json={"split": split, **data}, timeout=300)  # noqa: E731
        assert ask("num_tasks").json() == {"num_tasks": env.num_tasks}
        assert ask("task", index=2).json()["task"] == {"index": 2, "id": env.task_id(2), "split": split}
        assert len(ask("tasks").json()["tasks"]) == min(env.num_tasks, 1000)
        assert [task["index"] for task in ask("task_range", start=1, stop=4).json()["tasks"]] == [1, 2, 3]
        assert ask("task", index=-1).status_code == ask("task", index=env.num_tasks).status_code == 400
    answer = httpx.post(f"{base}/num_tasks", json={"split": "trian"}, timeout=300)
    assert answer.status_code == 404 and "did you mean 'train'" in answer.json()["detail"]


def _rpc(url, method, **params):
    answer = httpx.post(f"{url}/mcp", json={"jsonrpc": "2.0", "id": 1, "method": method, "params": params}, timeout=300).json()
    return answer.get("result"), answer.get("error")


def test_mcp(benchmark):
    _, env_id, url = benchmark
    tools, _ = _rpc(url, "tools/list")
    assert {tool["name"] for tool in tools["tools"]} == {"start_episode", "act"}
    created, _ = _rpc(url, "openenv/session/create")
    env = gym.make(env_id)
    text, _ = env.reset(seed=3)
    session = {"session_id": created["session_id"]}
    started, _ = _rpc(url, "tools/call", name="start_episode", arguments={"seed": 3}, **session)
    assert started["text"] == text
    action = env.unwrapped.expert()
    done, _ = _rpc(url, "tools/call", name="act", arguments={"action": action}, **session)
    assert (done["text"], done["reward"]) == env.step(action)[:2]
    _, error = _rpc(url, "tools/call", name="act", arguments={"action": "look"})
    assert "no episode yet" in error["message"]
    closed, _ = _rpc(url, "openenv/session/close", **session)
    assert closed["closed"]


def test_openenv_validates_the_server(benchmark):
    result = CliRunner().invoke(openenv_command, ["validate", "--url", benchmark[2], "--timeout", "300", "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["passed"] and all(criterion["passed"] for criterion in report["criteria"]), report


def test_health_and_pages(server):
    assert httpx.get(f"{server}/health", timeout=300).json() == {"status": "healthy"}
    assert httpx.get(f"{server}/list_environments", timeout=300).json() == ["alfworld", "webshop", "deepsearch"]
    assert httpx.get(f"{server}/nowhere", timeout=300).status_code == 404
    assert httpx.get(f"{server}/alfworld/docs", timeout=300).status_code == 200


def test_the_limit_holds_for_both_kinds_of_sessions():
    with serving("alfworld", max_sessions=2) as url:
        first, second = empg_gym.connect(url), GenericEnvClient(base_url=url).sync()
        second.connect()
        second.reset(seed=0)
        with pytest.raises(EnvironmentFailure, match=r"full \(2 sessions\)"):
            empg_gym.connect(url)
        connection = _socket(url)
        answer = json.loads(connection.receive(300))
        assert answer["data"]["code"] == "CAPACITY_REACHED" and "full (2 sessions)" in answer["data"]["message"]
        connection.close()
        first.reset(seed=0)
        first.close()
        deadline = time.monotonic() + 300
        while True:
            try:
                empg_gym.connect(url).close()
                break
            except EnvironmentFailure:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        assert second.step({"action": "look"}).observation["text"]
        second.close()


def test_an_idle_session_is_closed():
    with serving("alfworld", idle_seconds=0.3) as url:
        connection = _socket(url)
        with pytest.raises(Closed) as closed:
            connection.send('{"type": "reset"}')
            connection.receive(300)
            connection.receive(300)
        assert (closed.value.code, closed.value.reason) == (1001, "no message for 0.3 seconds")


def test_a_token_guards_everything_but_health():
    with serving("alfworld", token="a-secret-of-some-length") as url:
        assert httpx.get(f"{url}/health", timeout=300).status_code == 200
        for path in ("/metadata", "/docs", "/openapi.json", "/list_environments"):
            assert httpx.get(f"{url}{path}", timeout=300).status_code == 401
        assert httpx.post(f"{url}/reset", json={}, timeout=300).status_code == 401
        with pytest.raises(Exception, match="401"):
            _socket(url)
        headers = {"Authorization": "Bearer a-secret-of-some-length"}
        assert httpx.get(f"{url}/metadata", headers=headers, timeout=300).status_code == 200
        with GenericEnvClient(base_url=url, headers=headers).sync() as client:
            assert client.reset(seed=0).observation["text"]
