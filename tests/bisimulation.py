"""A check of `state_key` for any environment: states with equal keys have equal futures."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Collection
from typing import Any

from empg_gym.env import State, TextEnv

Probes = Callable[[dict[str, Any]], list[str]]
"""Returns the actions to try in a state, given its `info`."""


def future(env: TextEnv, state: State, probes: Probes, depth: int, history: Collection[str] = ("step",)) -> list[Any]:
    """Return the results of all sequences of probes from `state`, without the `info` keys in `history`, which describe the past."""
    info = _without(env.restore(state)[1], history)
    if depth == 0:
        return [info]
    found: list[Any] = [info]
    for action in probes(info):
        env.restore(state)
        observation, reward, terminated, _, after = env.step(action)
        found.append((action, observation, reward, terminated, _without(after, history)))
        found.append(future(env, env.snapshot(), probes, depth - 1, history))
    return found


def revisits(
    env: TextEnv, probes: Probes, rng: random.Random, *, walks: int, steps: int, depth: int, history: Collection[str] = ("step",)
) -> int:
    """Walk at random, compare futures whenever a key recurs, and return how often one did.

    Each walk starts in a random state seen before; the caller has reset the environment.
    """
    first = {env.state_key(): env.snapshot()}
    futures: dict[str, list[Any]] = {}
    count = 0
    for _ in range(walks):
        info = env.restore(rng.choice(list(first.values())))[1]
        for _ in range(steps):
            info = env.step(rng.choice(probes(info)))[4]
            state, key = env.snapshot(), env.state_key()
            if first.setdefault(key, state) != state:
                count += 1
                if key not in futures:
                    futures[key] = future(env, first[key], probes, depth, history)
                assert future(env, state, probes, depth, history) == futures[key]
                env.restore(state)
                assert env.state_key() == key
    return count


def keys_of_process(script: str, hash_seed: int) -> list[str]:
    """Run a script that prints keys in a process with this hash seed, and return the printed words."""
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    return done.stdout.split()


def _without(info: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in info.items() if name not in names}
