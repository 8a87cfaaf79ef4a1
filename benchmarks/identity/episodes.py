"""The episodes that every door replays, and what this process saw of them.

Rules:
    - An episode is a task, a seed and actions: mostly the expert's, some random, some invalid, until the end or a limit of 12 steps.
    - An entry of an episode is (observation, reward, terminated, truncated); the first one is the reset's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from empg_gym.adapters.episode_task import EpisodeTask, episode_tasks
from empg_gym.env import TextEnv
from empg_gym.registration import find_id

SEED = 1_000
KWARGS: dict[str, dict[str, Any]] = {
    "alfworld": {"size": "small", "max_steps": 12},
    "webshop": {"max_steps": 12},
    "deepsearch": {"protocol": "plain"},
}
"""Environment to its arguments."""
SHARES = {"alfworld": 0.4, "webshop": 0.3, "deepsearch": 0.3}
"""Share of the episodes."""

Entry = tuple[str, float, bool, bool]


class Episode(NamedTuple):
    """An episode to replay."""

    task: EpisodeTask
    actions: list[str]
    entries: list[Entry]
    """What the local environment showed."""


Door = Callable[[str, Sequence[Episode]], list[list[Entry]]]
"""From the name of an environment and episodes to what was seen at the other side of the door."""


def local_episodes(env_id: str, count: int) -> list[Episode]:
    """Return episodes of the first tasks of `train`, played here; first observations differ from each other."""
    kwargs = KWARGS[env_id]
    env = gym.make(find_id(env_id), split="train", **kwargs)
    played: dict[str, Episode] = {}
    for task in episode_tasks(env_id, limit=count + count // 10, seed=SEED, **kwargs):  # some begin alike
        if len(played) == count:
            break
        rng = np.random.default_rng(task.seed)
        observation, info = env.reset(seed=task.seed, options={"task": task.task})
        first, entries, actions, done = observation, [(observation, 0.0, False, False)], [], False
        while not done:
            actions.append(_action(env.unwrapped, info, rng))
            observation, reward, terminated, truncated, info = env.step(actions[-1])
            entries.append((observation, float(reward), terminated, truncated))
            done = terminated or truncated
        played.setdefault(first, Episode(task, actions, entries))
    env.close()
    return list(played.values())


def _action(env: TextEnv, info: dict[str, Any], rng: np.random.Generator) -> str:
    draw = rng.random()
    if draw < 0.05 and env.benchmark == "ALFWorld":
        return "dance on the table"
    expert = env.expert()
    if draw < 0.75 and expert is not None:
        return expert
    chosen = str(rng.choice(info["admissible_actions"]))
    words = re.findall(r"\w+", info["instruction"])
    return re.sub(r"<[^>]*>", lambda _: str(rng.choice(words)), chosen)
