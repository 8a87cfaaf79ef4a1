"""`Episodes`: running episodes by handle, for protocols without sessions.

Rules:
    - A handle is random and names one episode; every client that has it may step the episode.
    - At most `max_sessions` episodes run. One without a call for `idle_seconds` is closed when room or the episode itself is asked for.
    - Calls of different episodes may run at the same time, in threads; a second call of one episode waits for the first.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym

from empg_gym.env import TextEnv
from empg_gym.errors import ConfigError, EnvironmentFailure, TaskError, nearest
from empg_gym.serve.host import EnvHost
from empg_gym.serve.settings import SessionLimits

Outcome = tuple[str, float, bool, bool, dict[str, Any]]


@dataclass
class _Episode:
    env: gym.Env[Any, Any]
    used: float
    lock: threading.Lock = field(default_factory=threading.Lock)
    last: Outcome = ("", 0.0, False, False, {})


class Episodes:
    """The episodes of a server.

    Args:
        hosts: the served environments by name.
        limits: on episodes.
        clock: seconds, for the idle time.
    """

    def __init__(self, hosts: Mapping[str, EnvHost], limits: SessionLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self._hosts, self._limits, self._clock = hosts, limits, clock
        self._episodes: dict[str, _Episode] = {}
        self._lock = threading.Lock()

    def host(self, name: str | None) -> EnvHost:
        """Return a served environment; None is the only one.

        Raises:
            ConfigError: it isn't served, or None is not clear.
        """
        if name is None and len(self._hosts) == 1:
            return next(iter(self._hosts.values()))
        if name is None:
            raise ConfigError(f"this server has several environments: name one of {', '.join(self._hosts)}")
        if name not in self._hosts:
            raise ConfigError(f"this server has no environment {name[:80]!r}; {nearest(name[:80], self._hosts)}")
        return self._hosts[name]

    def start(self, name: str | None, split: str | None, task: int | str | None, seed: int | None) -> tuple[str, Outcome]:
        """Start an episode; return its handle and what a step would return.

        Raises:
            EMPGGymError: the environment, the split or the task isn't known, or there is no room.
        """
        host = self.host(name)
        if seed is not None and seed < 0:
            raise ConfigError(f"seed must be an integer of at least 0, not {seed}")
        self._close_idle()
        if len(self._episodes) >= self._limits.max_sessions:
            raise EnvironmentFailure(
                f"the server is full ({self._limits.max_sessions} episodes): close one, or start it with a larger --max-sessions"
            )
        env = host.make(split)
        try:
            observation, info = env.reset(seed=seed, options=None if task is None else {"task": task})
        except BaseException:
            env.close()
            raise
        handle = secrets.token_urlsafe(12)
        outcome = (observation, 0.0, False, False, info)
        with self._lock:
            self._episodes[handle] = _Episode(env, self._clock(), last=outcome)
        return handle, outcome

    def step(self, handle: str, action: str) -> Outcome:
        """Carry out an action; raises TaskError for an unknown handle."""
        episode = self._episode(handle)
        with episode.lock:
            observation, reward, terminated, truncated, info = episode.env.step(action)
            episode.last = (observation, float(reward), terminated, truncated, info)
            episode.used = self._clock()
            return episode.last

    def last(self, handle: str) -> Outcome:
        """Return what the last step returned; raises TaskError for an unknown handle."""
        return self._episode(handle).last

    def close(self, handle: str) -> Outcome:
        """End an episode and return what the last step returned; raises TaskError for an unknown handle."""
        episode = self._episode(handle)
        with self._lock:
            self._episodes.pop(handle, None)
        with episode.lock:
            episode.env.close()
        return episode.last

    def close_all(self) -> None:
        """End all episodes."""
        for handle in list(self._episodes):
            self.close(handle)

    def _episode(self, handle: str) -> _Episode:
        self._close_idle()
        with self._lock:
            episode = self._episodes.get(handle)
            if episode is None:
                raise TaskError(f"there is no episode {handle[:40]!r}: it was closed, or idle for too long; start one with reset")
            episode.used = self._clock()
            return episode

    def _close_idle(self) -> None:
        oldest = self._clock() - self._limits.idle_seconds
        with self._lock:
            idle = [handle for handle, episode in self._episodes.items() if episode.used < oldest and not episode.lock.locked()]
            ended = [self._episodes.pop(handle) for handle in idle]
        for episode in ended:
            episode.env.close()


def tasks_of(env: TextEnv, start: int, stop: int) -> list[dict[str, Any]]:
    """Return index and id of the tasks from `start` to before `stop`.

    Raises:
        TaskError: an index is negative.
    """
    if start < 0 or stop < 0:
        raise TaskError(f"tasks are numbered from 0, not {min(start, stop)}")
    return [{"index": index, "id": env.task_id(index), "split": env.split} for index in range(start, min(stop, env.num_tasks))]
