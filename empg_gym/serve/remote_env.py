"""`RemoteEnv`: a served environment as a `gymnasium.Env`, as `empg_gym.connect` returns it.

Rules:
    - Observations, rewards, endings and info are those of the local environment, and so are its errors.
    - When the server dies or restarts, the call raises `EnvironmentFailure`, and the next reset connects again. A server that comes back
      with another environment or other data is refused: its episodes would be others.
    - Without a seed, a reset after a lost connection draws from a new generator.
    - There is no expert, no gold answer and no snapshot over a network; see `empg_gym.serve.session`.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from empg_gym.env import State
from empg_gym.errors import ConfigError, EnvironmentFailure, TaskError
from empg_gym.rollout.proxy_env import ProxyEnv
from empg_gym.serve.client import Sessions

_SESSION = 0
_SAME = ("env_id", "version", "fingerprint", "variant", "split")
"""Parts of a description that must stay what they are while a client is in use."""


def connect(
    url: str,
    *,
    split: str | None = None,
    token: str | None = None,
    seconds: float = 120.0,
    render_mode: str | None = None,
) -> gym.Env[str, str]:
    """Return a served environment that behaves as the local one.

    Args:
        url: address of the server, such as "http://127.0.0.1:8000"; with the name of the environment where it serves several.
        split: list of tasks; None is the server's default.
        token: the server's token; None = that of the environment variable `EMPG_GYM_TOKEN`, if it is set.
        seconds: longest time for an answer.
        render_mode: None or "ansi".

    Raises:
        ConfigError: the address or the split can't be used.
        EnvironmentFailure: no server answers there, it refuses, or it is full.
        MissingDependencyError: the package `websockets` is not installed (extra `connect`).

    Example:
        >>> env = empg_gym.connect("http://127.0.0.1:8000")
        >>> observation, info = env.reset(seed=0)
        >>> observation, reward, terminated, truncated, info = env.step(info["admissible_actions"][0])
    """
    env = RemoteEnv(url, split=split, token=token, seconds=seconds, render_mode=render_mode)
    # As `gymnasium.make` does for a local environment.
    return gym.wrappers.OrderEnforcing(env)


class RemoteEnv(ProxyEnv):
    """One session on a server; for the arguments and errors see `connect`."""

    def __init__(
        self,
        url: str,
        *,
        split: str | None = None,
        token: str | None = None,
        seconds: float = 120.0,
        render_mode: str | None = None,
    ) -> None:
        self._url, self._token, self._seconds, self._wanted_split = url, token, seconds, split
        self._sessions: Sessions | None = None
        self._closed = False
        described = self._open()
        self._described = described
        self.benchmark, self.version, self.wording = described["benchmark"], described["version"], described["wording"]  # type: ignore[misc]
        self.splits = tuple(described["splits"])  # type: ignore[misc]
        self._constants = {**described, "_variant": described["variant"]}
        self._seen_info: dict[str, Any] = {}
        super().__init__(split=described["split"], max_steps=described["max_steps"], render_mode=render_mode)
        arguments = {"url": url, "split": split, "token": token, "seconds": seconds}
        entry_point = f"{__name__}:{RemoteEnv.__name__}"
        self.spec = EnvSpec(id=described["env_id"], entry_point=entry_point, kwargs=arguments, disable_env_checker=True)

    # Episodes

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        gym.Env.reset(self, seed=seed)  # checks the seed as a local environment does
        if self._sessions is None:
            self._reopen()
        observation, info = self._ask("reset", seed, options)
        self._step = 0
        self._terminated = self._truncated = False
        self._first_observation = observation
        return self._seen(observation, info)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        if not isinstance(action, str):
            raise TaskError(f"step() expects an action as text, a str, not {type(action).__name__}")
        self._current("task")
        observation, reward, self._terminated, self._truncated, info = self._ask("step", action)
        self._step += 1
        self._seen(observation, info)
        return observation, reward, self._terminated, self._truncated, info

    def snapshot(self) -> State:
        raise ConfigError("a served environment can't be branched: make it in this process with gymnasium.make, or play from the start")

    def restore(self, state: State) -> tuple[str, dict[str, Any]]:
        raise ConfigError("a served environment can't be branched: make it in this process with gymnasium.make, or play from the start")

    def close(self) -> None:
        self._closed = True
        if self._sessions is not None:
            self._sessions.close()
            self._sessions = None

    def task_key(self) -> str:
        return str(self._current("task_key"))

    # The server

    def _open(self) -> dict[str, Any]:
        """Connect and open a session; return the server's description."""
        sessions = Sessions(self._url, token=self._token, seconds=self._seconds)
        try:
            described: dict[str, Any] = sessions.ask(_SESSION, "describe", self._wanted_split)
            sessions.ask(_SESSION, "open", self._wanted_split)
        except BaseException:
            sessions.close()
            raise
        self._sessions = sessions
        return described

    def _reopen(self) -> None:
        if self._closed:
            raise ConfigError("the environment is closed: connect again")
        described = self._open()
        for name in _SAME:
            if described[name] != self._described[name]:
                self.close()
                raise EnvironmentFailure(
                    f"the server at {self._url} now has another {name} ({described[name]}, was {self._described[name]}): connect again"
                )

    def _ask(self, name: str, *arguments: Any) -> Any:
        if self._sessions is None:
            raise EnvironmentFailure(f"there is no connection to {self._url}: reset() connects again and starts another episode")
        try:
            return self._sessions.ask(_SESSION, name, *arguments)
        except EnvironmentFailure:
            # The session is gone, with or without the connection.
            self._sessions.close()
            self._sessions = None
            self._seen_info = {}
            raise

    def _call(self, method: str, *arguments: Any) -> Any:
        return self._ask(method, *arguments)

    def _current(self, name: str) -> Any:
        if self._sessions is not None and "task" not in self._seen_info:
            raise TaskError("no task yet: call reset() first")
        if name in ("task", "instruction", "success", "score") and self._sessions is not None:
            return self._seen_info[name]
        return self._ask("get", name)

    def _seen(self, observation: str, info: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        self._task, self._observation, self._seen_info = info["task"], observation, dict(info)
        return observation, info
