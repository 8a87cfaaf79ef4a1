"""MCP with the real package and its client, in memory and over both transports: the same episodes, and a sentence for every wrong call."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from pathlib import Path

import gymnasium as gym
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from empg_gym.errors import ConfigError, EnvironmentFailure, TaskError
from empg_gym.net.server import BackgroundServer, ServerLimits, listen, make_server
from empg_gym.recipe import EnvRecipe
from empg_gym.serve.door import Door
from empg_gym.serve.episodes import Episodes
from empg_gym.serve.host import EnvHost
from empg_gym.serve.mcp import http_app, make_mcp_server
from empg_gym.serve.settings import SessionLimits
from empg_gym.serve.slots import SessionSlots
from tests.serve.serving import BENCHMARKS

ROOT = Path(__file__).resolve().parents[2]


def _hosts(*names):
    return {name: EnvHost(name, EnvRecipe(BENCHMARKS[name])) for name in names or BENCHMARKS}


@pytest.fixture(scope="module")
def server():
    hosts = _hosts()
    return make_mcp_server(hosts, Episodes(hosts, SessionLimits()))


async def _call(client, name, **arguments):
    result = await client.call_tool(name, arguments)
    if result.is_error:
        return None, result.content[0].text
    content = result.structured_content
    return content.get("result", content), None


async def _episode(client, name, seed, arguments):
    """Play an expert's episode through MCP and locally; compare all steps."""
    env = gym.make(BENCHMARKS[name])
    observation, info = env.reset(seed=seed)
    seen, _ = await _call(client, "reset", seed=seed, **arguments)
    assert (seen["observation"], seen["instruction"], seen["task"]) == (observation, info["instruction"], info["task"])
    ended = False
    while not ended:
        action = env.unwrapped.expert() or "look"
        observation, reward, terminated, truncated, info = env.step(action)
        seen, _ = await _call(client, "step", episode=seen["episode"], action=action)
        assert (seen["observation"], seen["reward"], seen["terminated"], seen["truncated"]) == (observation, reward, terminated, truncated)
        assert seen["admissible_actions"] == info["admissible_actions"][:100]
        assert {key: seen[key] for key in ("success", "score", "step", "valid_action")} == {
            key: info[key] for key in ("success", "score", "step", "valid_action")
        }
        ended = terminated or truncated
    assert (await _call(client, "state", episode=seen["episode"]))[0] == seen
    assert (await _call(client, "close", episode=seen["episode"]))[0] == seen
    _, error = await _call(client, "step", episode=seen["episode"], action="look")
    assert "there is no episode" in error and "start one with reset" in error


def test_in_memory(server):
    async def play():
        async with Client(server) as client:
            for name in BENCHMARKS:
                await _episode(client, name, 3, {"env": name})
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            assert set(tools) == {"list_environments", "list_tasks", "reset", "step", "state", "close"}
            assert all(tool.description and tool.output_schema for tool in tools.values())
            card = await client.read_resource("card://alfworld")
            assert card.contents[0].text.startswith("# ALFWorld")

    asyncio.run(play())


@contextlib.contextmanager
def _http(server, token=None):
    door = Door(http_app(server, 1 << 20), SessionSlots(8), token=token, idle_seconds=60)
    running = make_server(door, limits=ServerLimits(max_body=1 << 20), websockets=True, log_level="critical", shutdown_seconds=1)
    background = BackgroundServer(running, listen("127.0.0.1", 0))
    try:
        yield f"http://127.0.0.1:{background.port}/mcp"
    finally:
        background.close()


def test_over_http():
    hosts = _hosts("alfworld")

    async def play(url):
        async with Client(url, read_timeout_seconds=300) as client:
            await _episode(client, "alfworld", 5, {})

    with _http(make_mcp_server(hosts, Episodes(hosts, SessionLimits()))) as url:
        asyncio.run(play(url))


def test_a_token_is_needed_over_http():
    hosts = _hosts("alfworld")

    async def play(url):
        async with Client(url, read_timeout_seconds=300) as client:
            await client.list_tools()

    with _http(make_mcp_server(hosts, Episodes(hosts, SessionLimits())), token="a-secret-of-some-length") as url:
        with pytest.raises(Exception) as refused:
            asyncio.run(play(url))
        import httpx

        assert httpx.post(url, json={}, timeout=300).status_code == 401, refused


def test_over_stdio():
    parameters = StdioServerParameters(
        command=sys.executable,
        args=["-c", "from empg_gym.cli import main; main()", "serve", "mcp", "alfworld"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )

    async def play():
        async with Client(stdio_client(parameters), read_timeout_seconds=300) as client:
            await _episode(client, "alfworld", 7, {})

    asyncio.run(play())


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("reset", {}, "several environments: name one of alfworld, webshop, deepsearch"),
        ("reset", {"env": "alfwold"}, "did you mean 'alfworld'"),
        ("reset", {"env": "alfworld", "split": "trian"}, "did you mean 'train'"),
        ("reset", {"env": "alfworld", "task": "nowhere"}, "no task 'nowhere'"),
        ("reset", {"env": "alfworld", "task": -1}, "has tasks 0.."),
        ("reset", {"env": "alfworld", "seed": -1}, "at least 0"),
        ("step", {"episode": "none", "action": "look"}, "there is no episode 'none'"),
        ("list_tasks", {"env": "webshop", "start": -1}, "numbered from 0"),
    ],
)
def test_wrong_calls(server, tool, arguments, said):
    async def call():
        async with Client(server) as client:
            return await _call(client, tool, **arguments)

    content, error = asyncio.run(call())
    assert content is None and said in error and "Traceback" not in error


def test_lists(server):
    async def call():
        async with Client(server) as client:
            environments, _ = await _call(client, "list_environments")
            tasks, _ = await _call(client, "list_tasks", env="alfworld", split="valid_seen", start=2, stop=4)
            many, _ = await _call(client, "list_tasks", env="alfworld", stop=10**6)
            return environments, tasks, many

    environments, tasks, many = asyncio.run(call())
    env = gym.make("EMPG/ALFWorld-v0", split="valid_seen").unwrapped
    assert [entry["name"] for entry in environments] == list(BENCHMARKS)
    assert environments[0]["splits"]["valid_seen"] == env.num_tasks
    assert tasks == [{"index": index, "id": env.task_id(index), "split": "valid_seen"} for index in (2, 3)]
    assert len(many) == 100


def test_episodes_have_a_limit_and_an_idle_time():
    now = [0.0]
    episodes = Episodes(_hosts("alfworld"), SessionLimits(max_sessions=2, idle_seconds=10), clock=lambda: now[0])
    first, _ = episodes.start(None, None, None, 1)
    second, _ = episodes.start(None, None, None, 1)
    with pytest.raises(EnvironmentFailure, match=r"full \(2 episodes\)"):
        episodes.start(None, None, None, 1)
    now[0] = 6
    episodes.step(first, "look")
    now[0] = 12
    third, _ = episodes.start(None, None, None, 1)
    with pytest.raises(TaskError, match="idle for too long"):
        episodes.step(second, "look")
    assert len({first, second, third}) == 3
    episodes.close_all()
    with pytest.raises(TaskError):
        episodes.last(first)
    with pytest.raises(ConfigError, match="no environment"):
        episodes.host("x")


def test_calls_of_different_episodes_overlap_and_those_of_one_do_not(monkeypatch):
    episodes = Episodes(_hosts("alfworld"), SessionLimits())
    handles = [episodes.start(None, None, None, seed)[0] for seed in (0, 1)]
    together, inside = threading.Barrier(2), []

    def slow(original):
        def step(action):
            together.wait(300)  # passes only if both episodes step at the same time
            inside.append(action)
            return original(action)

        return step

    for episode in episodes._episodes.values():
        monkeypatch.setattr(episode.env, "step", slow(episode.env.step))
    threads = [threading.Thread(target=episodes.step, args=(handle, "look")) for handle in handles for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert inside == ["look"] * 4 and {episodes.last(handle)[4]["step"] for handle in handles} == {2}
