"""The environments behind the protocol of the package `openenv`: HTTP, WebSocket, Task API and MCP (extra `openenv`).

Rules:
    - A session steps as `gymnasium.make` would: `done` is `terminated or truncated`, and both are in the observation.
    - A reset selects the episode by `seed`, `split`, and `task` (index or id; `index` is another name for it). Unknown names are refused.
    - OpenEnv's HTTP routes /reset and /step make an environment for each request: a step there has no episode and is refused.
    - OpenEnv's texts are UTF-8: a lone surrogate becomes "?", in actions and observations.
    - OpenEnv runs resets in a thread of the session; a step runs in the server's own thread unless the environment waits for something.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections.abc import Iterator
from typing import Annotated, Any

import gymnasium as gym
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from fastmcp import FastMCP
from openenv.core.env_server import Action, ConcurrencyConfig, Environment, Observation, State, create_app
from openenv.core.env_server.types import EnvironmentMetadata
from pydantic import BeforeValidator, Field

import empg_gym
from empg_gym.env import TextEnv
from empg_gym.errors import ConfigError, EMPGGymError, TaskError, nearest
from empg_gym.serve.host import EnvHost
from empg_gym.serve.settings import SessionLimits
from empg_gym.serve.step_fields import IN_INFO, StepFields
from empg_gym.serve.text import utf8

MAX_ACTION = 1 << 16
"""Length of an action, in characters."""
LISTED_TASKS = 1000
"""Tasks that a list shows; the others are found with `get_task` and `get_task_range`."""
_TYPES = {"train": "train", "test": "test", "ood": "test"}
"""OpenEnv's kinds of splits; all others are for validation."""


def _utf8(value: object) -> object:
    return utf8(value) if isinstance(value, str) else value


class TextAction(Action):  # type: ignore[misc]
    """One action of an agent."""

    action: Annotated[str, BeforeValidator(_utf8)] = Field(max_length=MAX_ACTION, description="The action, as text")


class TextObservation(StepFields, Observation):  # type: ignore[misc]
    """The result of a reset or a step, with everything that the local environment returns."""

    text: str = Field(description="What the agent sees")
    extras: dict[str, Any] = Field(description="Further entries of info, documented on the environment's card")


class TextState(State):  # type: ignore[misc]
    """Where an episode is."""

    env_id: str = Field(description="Id of the environment")
    task: str | None = Field(default=None, description="Id of the task; null before the first reset")
    split: str = Field(description="Split of the task")
    success: bool = Field(default=False, description="Whether the task is solved")
    score: float = Field(default=0.0, description="Score of the episode so far, 0 to 1")
    state_key: str | None = Field(default=None, description="Short name of the state: equal exactly when states are equal")


class ServedEnvironment(Environment[TextAction, TextObservation, TextState]):  # type: ignore[misc]
    """One session.

    Args:
        host: makes the environment, at the first reset.
    """

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self, host: EnvHost) -> None:
        super().__init__()
        self._host = host
        self._busy = threading.Lock()
        self._env: gym.Env[Any, Any] | None = None
        self._split: str | None = None
        self._episode_id: str | None = None
        self._steps = 0
        self._closed = False

    # Episodes

    def reset(
        self,
        seed: int | None = None,
        episode_id: str | None = None,
        *,
        split: str | None = None,
        task: int | str | None = None,
        index: int | None = None,
        **unknown: Any,
    ) -> TextObservation:
        """Start an episode.

        Args:
            seed: of the episode; draws the task where none is named.
            episode_id: any text; part of the state.
            split: list of tasks; default: the server's.
            task: index or id of the task.
            index: another name for `task`.
            unknown: refused.
        """
        if unknown:
            name = min(unknown)
            raise ConfigError(f"unknown reset option {name[:80]!r}; {nearest(name[:80], ('seed', 'episode_id', 'split', 'task', 'index'))}")
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int) or seed < 0):
            raise ConfigError(f"seed must be an integer of at least 0, not {str(seed)[:80]!r}")
        if episode_id is not None and not isinstance(episode_id, str):
            raise ConfigError(f"episode_id must be a text, not {type(episode_id).__name__}")
        if task is not None and index is not None:
            raise ConfigError("name the task by task or by index, not by both")
        wanted = index if task is None else task
        with self._alone():
            env = self._environment(split)
            text, info = env.reset(seed=seed, options=None if wanted is None else {"task": wanted})
            self._episode_id, self._steps = episode_id, 0
            return _observation(text, None, False, False, info)

    def step(self, action: TextAction, timeout_s: float | None = None, **ignored: Any) -> TextObservation:
        """Carry out one action."""
        with self._alone():
            if self._env is None:
                raise TaskError(
                    "no episode yet: reset first; over HTTP each request has an environment of its own, so play over the WebSocket /ws"
                )
            text, reward, terminated, truncated, info = self._env.step(action.action)
            self._steps += 1
            return _observation(text, float(reward), terminated, truncated, info)

    async def step_async(self, action: TextAction, timeout_s: float | None = None, **ignored: Any) -> TextObservation:
        """Carry out one action, in a thread if it may wait."""
        if self._env is not None and _inner(self._env).does_io:
            return await asyncio.to_thread(self.step, action)
        return self.step(action)

    @property
    def state(self) -> TextState:
        """Where the episode is."""
        if self._env is None or (self._steps == 0 and _inner(self._env)._task is None):
            return TextState(episode_id=self._episode_id, env_id=self._host.env_id, split=self._split or self._host.catalog().split)
        inner = _inner(self._env)
        return TextState(
            episode_id=self._episode_id,
            step_count=self._steps,
            env_id=self._host.env_id,
            task=inner.task,
            split=inner.split,
            success=inner.success,
            score=inner.score,
            state_key=inner.state_key(),
        )

    def close(self) -> None:
        """End the session."""
        self._closed = True
        env, self._env = self._env, None
        if env is not None:
            env.close()

    def get_metadata(self) -> EnvironmentMetadata:
        """Return name, description and version."""
        env = self._host.catalog()
        return EnvironmentMetadata(
            name=self._host.name,
            description=f"{env.benchmark}, a text environment for LLM agents, served by EMPG Gym",
            readme_content=self._host.card,
            version=f"{empg_gym.__version__}, environment {env.version}, data {env.fingerprint}",
            author="EMPG Gym",
        )

    def web_actions(self, observation: TextObservation) -> list[tuple[str, dict[str, str]]]:
        """Return the admissible actions for OpenEnv's page in the browser; templates are left to be typed."""
        return [(action, {"action": action}) for action in observation.admissible_actions if "<" not in action]

    # Tasks

    def list_splits(self) -> list[dict[str, str]]:
        """Return the splits."""
        return [{"name": split, "type": _TYPES.get(split, "validation")} for split in self._host.splits]

    def num_tasks(self, split: str) -> int:
        """Return the number of tasks."""
        return self._tasks(split).num_tasks

    def list_tasks(self, split: str) -> list[dict[str, Any]]:
        """Return the first tasks."""
        return self.get_task_range(split, 0, LISTED_TASKS)

    def get_task(self, split: str, index: int) -> dict[str, Any]:
        """Return one task.

        Raises:
            IndexError: the split has no such task.
        """
        env = self._tasks(split)
        if not 0 <= index < env.num_tasks:
            raise IndexError(index)
        return {"index": index, "id": env.task_id(index), "split": split}

    def get_task_range(self, split: str, start: int | None = None, stop: int | None = None) -> list[dict[str, Any]]:
        """Return the tasks from `start` to before `stop`, at most `LISTED_TASKS`.

        Raises:
            IndexError: an index is negative.
        """
        env = self._tasks(split)
        first = 0 if start is None else start
        last = env.num_tasks if stop is None else stop
        if first < 0 or last < 0:
            raise IndexError(min(first, last))
        last = min(last, env.num_tasks, first + LISTED_TASKS)
        return [{"index": index, "id": env.task_id(index), "split": split} for index in range(first, last)]

    # MCP

    @functools.cached_property
    def mcp_server(self) -> FastMCP:
        """The session's MCP tools; made for the first MCP request."""
        server: FastMCP = FastMCP(self._host.name)

        @server.tool  # type: ignore[untyped-decorator]
        async def start_episode(seed: int | None = None, split: str | None = None, task: int | str | None = None) -> dict[str, Any]:
            """Start an episode; the task is drawn from the seed unless it is named by its index or id."""
            return _plain(await asyncio.to_thread(self.reset, seed, split=split, task=task))

        @server.tool  # type: ignore[untyped-decorator]
        async def act(action: str) -> dict[str, Any]:
            """Carry out one action in the episode."""
            return _plain(await self.step_async(TextAction(action=action)))

        return server

    # Private

    def _environment(self, split: str | None) -> gym.Env[Any, Any]:
        if self._closed:
            raise TaskError("the session was closed after too long without a message: open a new one")
        if self._env is None or split not in (None, _inner(self._env).split):
            made = self._host.make(split)
            if self._env is not None:
                self._env.close()
            self._env, self._split = made, split
        return self._env

    def _tasks(self, split: str) -> TextEnv:
        try:
            return self._host.catalog(split)
        except EMPGGymError as error:
            raise HTTPException(404, str(error)) from None

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Refuse a call while another one of this session is running, instead of making the server wait."""
        if not self._busy.acquire(blocking=False):
            raise TaskError("the session's last call is still running: wait for its answer")
        try:
            if self._closed:
                raise TaskError("the session was closed after too long without a message: open a new one")
            yield
        except gym.error.Error as error:
            raise TaskError(str(error)) from None
        finally:
            self._busy.release()


def make_openenv_app(host: EnvHost, limits: SessionLimits) -> FastAPI:
    """Return OpenEnv's application for an environment.

    Args:
        host: makes the environments.
        limits: on sessions.
    """
    host.catalog()  # what can't be made is reported now
    app = create_app(
        functools.partial(ServedEnvironment, host),
        TextAction,
        TextObservation,
        env_name=host.name,
        concurrency_config=ConcurrencyConfig(max_concurrent_envs=limits.max_sessions, session_timeout=limits.idle_seconds),
        state_cls=TextState,
    )
    app.add_exception_handler(EMPGGymError, _refuse)
    app.add_exception_handler(OverflowError, _refuse)
    return app


async def _refuse(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, 400)


def _observation(text: str, reward: float | None, terminated: bool, truncated: bool, info: dict[str, Any]) -> TextObservation:
    return TextObservation(
        text=utf8(text),
        reward=reward,
        done=terminated or truncated,
        terminated=terminated,
        truncated=truncated,
        extras={name: value for name, value in info.items() if name not in IN_INFO},
        **{name: info[name] for name in IN_INFO},
    )


def _plain(observation: TextObservation) -> dict[str, Any]:
    plain: dict[str, Any] = observation.model_dump(exclude={"metadata"})
    return plain


def _inner(env: gym.Env[Any, Any]) -> TextEnv:
    inner = env.unwrapped
    assert isinstance(inner, TextEnv)
    return inner
