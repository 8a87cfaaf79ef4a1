"""The same episodes through every door: observations, rewards and endings, compared with `gymnasium.make` in this process.

    python -m benchmarks.identity [--episodes 1000] [--doors connect trl …]

A door is a server's protocol or an adapter. One whose package is not installed is left out, and its entry in
benchmarks/results/identity.json stays: run this in each environment that `make test-adapters` makes.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.identity import frameworks, served
from benchmarks.identity.episodes import Door, Episode

RESULT = Path(__file__).parents[1] / "results" / "identity.json"


class Entrance(NamedTuple):
    """A door and what it needs."""

    title: str
    """As in a table."""
    package: str
    modules: tuple[str, ...]
    """Are importable if everything that the door needs is installed."""
    play: Door


DOORS: dict[str, Entrance] = {
    "connect": Entrance("`empg_gym.connect`", "websockets", ("websockets", "uvicorn"), served.connect_door),
    "connect_batch": Entrance("`empg_gym.connect_batch`", "websockets", ("websockets", "uvicorn"), served.connect_batch_door),
    "openenv": Entrance("OpenEnv, with its own client", "openenv", ("openenv",), served.openenv_door),
    "mcp": Entrance("MCP, with its own client", "mcp", ("mcp.server.mcpserver",), served.mcp_door),
    "trl": Entrance("TRL, `environment_factory`", "trl", ("trl",), frameworks.trl_door),
    "skyrl": Entrance("SkyRL-gym, `BaseTextEnv`", "skyrl-gym", ("skyrl_gym",), frameworks.skyrl_door),
    "inspect": Entrance("Inspect AI, a task", "inspect-ai", ("inspect_ai",), frameworks.inspect_door),
    "verifiers": Entrance("verifiers, `vf-eval`", "verifiers", ("verifiers",), frameworks.verifiers_door),
    "verl": Entrance("verl, the agent loop", "verl", ("verl",), frameworks.verl_door),
}
"""The doors by name."""


def is_installed(name: str) -> bool:
    """Return whether a door's packages are installed."""
    with contextlib.suppress(ModuleNotFoundError):
        return all(importlib.util.find_spec(module) is not None for module in DOORS[name].modules)
    return False


def differences(play: Door, env_id: str, episodes: Sequence[Episode]) -> list[str]:
    """Return the first difference of each episode that differs."""
    found = []
    for episode, entries in zip(episodes, play(env_id, episodes), strict=True):
        pairs = itertools.zip_longest(map(tuple, entries), episode.entries)
        step = next((number for number, (seen, wanted) in enumerate(pairs) if seen != wanted), None)
        if step is not None:
            found.append(f"{env_id}, task {episode.task.task}, step {step}")
    return found
