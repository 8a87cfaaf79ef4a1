"""Which episodes an evaluation runs, during training and by `evaluate` alike.

Rules:
    - `tasks` names them; else `episodes` draws that many tasks of the split without replacement, from the run's seed; else all are run, or
      `DEFAULT_EPISODES` drawn ones of a larger split (generated worlds have thousands).
    - Equal splits, numbers and seeds give equal tasks. Fewer tasks are a subset of more, and both are in the order of the split.
    - Every task is run `repeats` times: same task, same environment seed, another agent seed.
    - The environment's seed is a function of the run's seed and the task, so an episode does not depend on which others are run.
    - Every task is run once before any task is repeated.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence

from empg_gym.env import TextEnv
from empg_gym.errors import ConfigError
from empg_gym.rng import Stream, stream
from empg_gym.rollout.episode import EpisodeSpec

DEFAULT_EPISODES = 500
"""Tasks that are run if no number is given: the size of WebShop's test split, the largest of the three benchmarks'."""


def choose_tasks(env: TextEnv, *, tasks: Sequence[str | int] | None, episodes: int | None, seed: int) -> list[str]:
    """Return the ids of the tasks to run.

    Raises:
        ConfigError: both `tasks` and `episodes` are given, or the split has fewer tasks than `episodes`.
        TaskError: a task is not in the split.
    """
    if tasks is not None and episodes is not None:
        raise ConfigError("give tasks or episodes, not both")
    if tasks is not None:
        chosen = [env.find_task(task) for task in tasks]
        if not chosen:
            raise ConfigError("tasks is empty: name at least one, or leave it out to run the whole split")
        task, count = Counter(chosen).most_common(1)[0]
        if count > 1:
            raise ConfigError(f"task {task!r} is named {count} times; use repeats to run a task more than once")
        return chosen
    if episodes is None:
        episodes = min(DEFAULT_EPISODES, env.num_tasks)
    if episodes < 1:
        raise ConfigError(f"episodes must be at least 1, not {episodes}")
    if episodes > env.num_tasks:
        raise ConfigError(f"split {env.split!r} of {env.benchmark} has {env.num_tasks} tasks, fewer than episodes={episodes}; use repeats")
    return [env.task_id(index) for index in draw_indices(env.num_tasks, episodes, seed)]


def draw_indices(num_tasks: int, episodes: int, seed: int) -> list[int]:
    """Return the indices of `episodes` drawn tasks of a split of `num_tasks`, ascending; all of them if the split has fewer."""
    drawn = stream(seed, Stream.EVALUATION_TASKS).permutation(num_tasks)[:episodes]
    return sorted(int(index) for index in drawn)


def episode_specs(tasks: Sequence[str], *, repeats: int = 1, seed: int) -> Iterator[EpisodeSpec]:
    """Yield the episodes: every task once, then every task again."""
    for repeat in range(repeats):
        for group, task in enumerate(tasks):
            yield EpisodeSpec(seed=episode_seed(seed, task), task=task, group=group, repeat=repeat)


def episode_seed(seed: int, task: str) -> int:
    """Return the seed of the environment for a task, 0 <= seed < 2**31."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{task}".encode()).digest()[:4], "big") >> 1
