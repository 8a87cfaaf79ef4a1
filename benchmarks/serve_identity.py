"""The same episodes through every door of a server: observations, rewards and endings, compared with `gymnasium.make` in this process.

    python -m benchmarks.serve_identity [--episodes 1000] [--doors connect connect_batch mcp openenv]

A door whose package is not installed is left out, and its entry in benchmarks/results/serve_identity.json stays: `openenv` needs an
environment of its own (`make test-adapters` makes it).

Rules:
    - An episode is a seed and actions: mostly the expert's, some random, some invalid, until the end or 12 steps.
    - An entry of an episode is (observation, reward, terminated, truncated); the first one is the reset's.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import json
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

import empg_gym
from benchmarks.machine import machine
from empg_gym.net.server import BackgroundServer, listen, make_server
from empg_gym.recipe import EnvRecipe
from empg_gym.registration import short_name
from empg_gym.serve.app import Directory, Service
from empg_gym.serve.door import Door as Gate
from empg_gym.serve.endpoint import SessionsEndpoint
from empg_gym.serve.host import EnvHost
from empg_gym.serve.settings import SessionLimits
from empg_gym.serve.slots import SessionSlots

RESULT = Path(__file__).parent / "results" / "serve_identity.json"
ENVIRONMENTS = ("EMPG/ALFWorld-v0", "EMPG/WebShop-v0", "EMPG/DeepSearch-v0")
MOST_STEPS = 12

Entry = tuple[str, float, bool, bool]


class Episode(NamedTuple):
    """An episode to replay."""

    seed: int
    actions: list[str]
    entries: list[Entry]
    """What the local environment returned."""


Door = Callable[[str, Sequence[Episode]], list[list[Entry]]]
"""From the id of an environment and episodes to what the door returned."""


def local_episodes(env_id: str, count: int) -> list[Episode]:
    """Play episodes in this process."""
    env = gym.make(env_id)
    episodes = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        observation, info = env.reset(seed=seed)
        episode = Episode(seed, [], [(observation, 0.0, False, False)])
        ended = False
        while not ended and len(episode.actions) < MOST_STEPS:
            draw, expert = rng.random(), env.unwrapped.expert()  # type: ignore[attr-defined]
            known = info["admissible_actions"] or ["look"]
            action = expert if draw < 0.75 and expert is not None else str(rng.choice(known)) if draw < 0.95 else "dance, é 😀"
            observation, reward, terminated, truncated, info = env.step(action)
            episode.actions.append(action)
            episode.entries.append((observation, float(reward), terminated, truncated))
            ended = terminated or truncated
        episodes.append(episode)
    return episodes


@contextlib.contextmanager
def sessions_server(env_id: str) -> Iterator[str]:
    """Serve an environment in this process, without the package `openenv`."""
    limits = SessionLimits()
    slots = SessionSlots(limits.max_sessions)
    name = short_name(env_id)
    service = Service(None, SessionsEndpoint(EnvHost(name, EnvRecipe(env_id)), slots, limits))
    gate = Gate(Directory({name: service}), slots, token=None, idle_seconds=limits.idle_seconds)
    running = BackgroundServer(make_server(gate, websockets=True, log_level="error", shutdown_seconds=1), listen("127.0.0.1", 0))
    try:
        yield f"http://127.0.0.1:{running.port}"
    finally:
        running.close()


def connect_door(env_id: str, episodes: Sequence[Episode]) -> list[list[Entry]]:
    """Play through `empg_gym.connect`."""
    with sessions_server(env_id) as url:
        env = empg_gym.connect(url)
        seen = []
        for episode in episodes:
            entries: list[Entry] = [(env.reset(seed=episode.seed)[0], 0.0, False, False)]
            entries += [_entry(env.step(action)) for action in episode.actions]
            seen.append(entries)
        env.close()
        return seen


def connect_batch_door(env_id: str, episodes: Sequence[Episode], size: int = 32) -> list[list[Entry]]:
    """Play through `empg_gym.connect_batch`, `size` episodes at the same time."""
    with sessions_server(env_id) as url:
        batch = empg_gym.connect_batch(url, size, connections=3)
        seen: list[list[Entry]] = []
        for first in range(0, len(episodes), size):
            part = episodes[first : first + size]
            starts = batch.reset({place: episode.seed for place, episode in enumerate(part)})
            entries: list[list[Entry]] = [[(observation, 0.0, False, False)] for observation, _ in starts]
            for turn in range(MOST_STEPS):
                actions = {place: episode.actions[turn] for place, episode in enumerate(part) if turn < len(episode.actions)}
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

    hosts = {"served": EnvHost("served", EnvRecipe(env_id))}
    server = make_mcp_server(hosts, Episodes(hosts, SessionLimits()))

    async def play() -> list[list[Entry]]:
        seen = []
        async with Client(server) as client:
            for episode in episodes:
                facts = (await client.call_tool("reset", {"seed": episode.seed})).structured_content
                shown = [facts]
                for action in episode.actions:
                    result = await client.call_tool("step", {"episode": facts["episode"], "action": action})
                    shown.append(result.structured_content)
                await client.call_tool("close", {"episode": facts["episode"]})
                seen.append([(one["observation"], one["reward"], one["terminated"], one["truncated"]) for one in shown])
        return seen

    return asyncio.run(play())


def openenv_door(env_id: str, episodes: Sequence[Episode]) -> list[list[Entry]]:
    """Play through the whole server with OpenEnv's own client."""
    from openenv.core import GenericEnvClient

    from empg_gym.serve.app import make_env_server
    from empg_gym.serve.settings import ServerSettings

    server = make_env_server(ServerSettings(recipes={short_name(env_id): EnvRecipe(env_id)}))
    running = BackgroundServer(server, listen("127.0.0.1", 0))
    try:
        seen = []
        with GenericEnvClient(base_url=f"http://127.0.0.1:{running.port}").sync() as client:
            for episode in episodes:
                results = [client.reset(seed=episode.seed), *(client.step({"action": action}) for action in episode.actions)]
                found = [(one.observation, one.reward or 0.0) for one in results]
                seen.append([(fields["text"], reward, fields["terminated"], fields["truncated"]) for fields, reward in found])
        return seen
    finally:
        running.close()


DOORS: dict[str, tuple[str, Door]] = {
    "connect": ("websockets", connect_door),
    "connect_batch": ("websockets", connect_batch_door),
    "mcp": ("mcp.server.mcpserver", mcp_door),
    "openenv": ("openenv", openenv_door),
}
"""Name to the module that it needs and the door."""


def differences(door: Door, env_id: str, episodes: Sequence[Episode]) -> list[str]:
    """Return the first difference of each episode that differs."""
    found = []
    for episode, entries in zip(episodes, door(env_id, episodes), strict=True):
        if entries != episode.entries:
            place = next((n for n, (a, b) in enumerate(zip(entries, episode.entries, strict=False)) if a != b), len(entries))
            found.append(f"{env_id}, seed {episode.seed}, step {place}")
    return found


def is_installed(name: str) -> bool:
    """Return whether the package of a door is installed."""
    with contextlib.suppress(ModuleNotFoundError):
        return importlib.util.find_spec(DOORS[name][0]) is not None
    return False


def _entry(outcome: tuple[Any, ...]) -> Entry:
    observation, reward, terminated, truncated, _ = outcome
    return observation, float(reward), terminated, truncated


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=1000, help="in all, over the three environments")
    parser.add_argument("--doors", nargs="*", choices=DOORS, default=list(DOORS))
    options = parser.parse_args()
    record: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {"doors": {}}
    counts = [options.episodes // 3 + (number < options.episodes % 3) for number in range(3)]
    episodes = {env_id: local_episodes(env_id, count) for env_id, count in zip(ENVIRONMENTS, counts, strict=True)}
    for name in filter(is_installed, options.doors):
        module, door = DOORS[name]
        package = module.partition(".")[0]
        found = [difference for env_id in ENVIRONMENTS for difference in differences(door, env_id, episodes[env_id])]
        record["doors"][name] = {
            "package": f"{package} {version(package)}",
            "episodes": options.episodes,
            "steps": sum(len(episode.actions) for part in episodes.values() for episode in part),
            "differences": found,
        }
        print(name, record["doors"][name])
    record["machine"] = machine("gymnasium", "numpy")
    RESULT.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
