"""The doors of the server: the episodes as its clients see them, over the loopback."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import empg_gym
from benchmarks.identity.episodes import KWARGS, Entry, Episode
from empg_gym.recipe import EnvRecipe
from empg_gym.registration import find_id
from empg_gym.serve.host import EnvHost
from empg_gym.serve.settings import ServerSettings, SessionLimits

BATCH = 32
"""Episodes that `connect_batch` plays at the same time."""


def connect_door(env_id: str, episodes: Sequence[Episode]) -> list[list[Entry]]:
    """Play through `empg_gym.connect`."""
    from tests.serve.serving import serving

    with serving(_recipe(env_id)) as (url, _):
        env = empg_gym.connect(url)
        seen = []
        for episode in episodes:
            first, _ = env.reset(seed=episode.task.seed, options={"task": episode.task.task})
            seen.append([(first, 0.0, False, False), *(_entry(env.step(action)) for action in episode.actions)])
        env.close()
        return seen


def connect_batch_door(env_id: str, episodes: Sequence[Episode]) -> list[list[Entry]]:
    """Play through `empg_gym.connect_batch`."""
    from tests.serve.serving import serving

    with serving(_recipe(env_id)) as (url, _):
        batch = empg_gym.connect_batch(url, BATCH, connections=3)
        seen: list[list[Entry]] = []
        for start in range(0, len(episodes), BATCH):
            part = dict(enumerate(episodes[start : start + BATCH]))
            seeds = {place: episode.task.seed for place, episode in part.items()}
            tasks = {place: episode.task.task for place, episode in part.items() if episode.task.task is not None}
            entries: list[list[Entry]] = [[(first, 0.0, False, False)] for first, _ in batch.reset(seeds, tasks)]
            for step in range(max(len(episode.actions) for episode in part.values())):
                actions = {place: episode.actions[step] for place, episode in part.items() if step < len(episode.actions)}
                for place, outcome in zip(actions, batch.step(actions), strict=True):
                    entries[place].append(_entry(outcome))
            seen += entries
        batch.close()
        return seen


def mcp_door(env_id: str, episodes: Sequence[Episode]) -> list[list[Entry]]:
    """Play through MCP tools with the client of the package `mcp`."""
    from mcp import Client

    from empg_gym.serve.episodes import Episodes
    from empg_gym.serve.mcp import make_mcp_server

    hosts = {"served": EnvHost("served", _recipe(env_id))}
    server = make_mcp_server(hosts, Episodes(hosts, SessionLimits()))

    async def play() -> list[list[Entry]]:
        seen = []
        async with Client(server) as client:
            for episode in episodes:
                start = {"task": episode.task.task, "seed": episode.task.seed}
                shown = [(await client.call_tool("reset", start)).structured_content]
                named = {"episode": shown[0]["episode"]}
                for action in episode.actions:
                    shown.append((await client.call_tool("step", {**named, "action": action})).structured_content)
                await client.call_tool("close", named)
                seen.append([(one["observation"], one["reward"], one["terminated"], one["truncated"]) for one in shown])
        return seen

    return asyncio.run(play())


def openenv_door(env_id: str, episodes: Sequence[Episode]) -> list[list[Entry]]:
    """Play through the whole server with OpenEnv's own client."""
    from openenv.core import GenericEnvClient

    with _openenv_server(env_id) as url, GenericEnvClient(base_url=url).sync() as client:
        seen = []
        for episode in episodes:
            start = client.reset(seed=episode.task.seed, task=episode.task.task)
            results = [start, *(client.step({"action": action}) for action in episode.actions)]
            found = [(one.observation, one.reward or 0.0) for one in results]
            seen.append([(fields["text"], reward, fields["terminated"], fields["truncated"]) for fields, reward in found])
        return seen


@contextlib.contextmanager
def _openenv_server(env_id: str) -> Iterator[str]:
    from empg_gym.net.server import BackgroundServer, listen
    from empg_gym.serve.app import make_env_server

    server = make_env_server(ServerSettings(recipes={env_id: _recipe(env_id)}))
    running = BackgroundServer(server, listen("127.0.0.1", 0))
    try:
        yield f"http://127.0.0.1:{running.port}"
    finally:
        running.close()


def _recipe(env_id: str) -> EnvRecipe:
    return EnvRecipe(find_id(env_id), {"split": "train", **KWARGS[env_id]})


def _entry(outcome: tuple[Any, ...]) -> Entry:
    observation, reward, terminated, truncated, _ = outcome
    return observation, float(reward), terminated, truncated
