"""One episode from reset to stop, as a coroutine.

Rules:
    - A failure of the environment or of the agent is recorded in the last step and leaves this module as an exception;
      `empg_gym.rollout.runner` retries the episode.
    - Closing never fails an episode: errors while closing are logged.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any

import numpy as np

from empg_gym.agent_env import EpisodePoint, LLMAgentEnv
from empg_gym.agents.adapter import Session
from empg_gym.agents.base import BaseAgent
from empg_gym.errors import RowOverflowError
from empg_gym.rollout.limits import Limits
from empg_gym.runs.redaction import Redactor
from empg_gym.runs.terminal import printable
from empg_gym.trajectory import Completion, StopReason, Trajectory

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeSpec:
    """Which episode to run. Equal specs give equal episodes of a deterministic agent."""

    seed: int
    """Seeds the environment, and with `repeat` the agent."""
    task: str | int | None = None
    """Task id or index; None draws it from the seed."""
    group: int = 0
    repeat: int = 0
    branch: EpisodePoint | None = None
    """Where the episode branches off another one; None starts from the reset. Its trajectory names the parent and the branch step."""
    keep_points: bool = False
    """Whether to keep a snapshot before each response (`Trajectory.points`), so that episodes can be branched from it."""

    @property
    def agent_seed(self) -> int:
        """Seed of the agent: differs between the repeats of a task."""
        return int(np.random.SeedSequence([self.seed, self.repeat]).generate_state(1, np.uint64)[0] >> np.uint64(1))


class PlayedEnv:
    """An environment during one episode.

    Args:
        env: the environment.
        threads: where the calls of an environment that does I/O run; one thread per running episode is needed.
    """

    def __init__(self, env: LLMAgentEnv, threads: Executor) -> None:
        self.env = env
        self._threads = threads
        self._last: Future[Any] | None = None

    async def call(self, function: Callable[[], Any]) -> Any:
        """Run a call of the environment; if the environment does I/O, in a thread, so that other episodes continue."""
        if not self.env.text_env.does_io:
            return function()
        # asyncio's own executor has a few threads per core, which would limit how many environments wait at once.
        self._last = self._threads.submit(contextvars.copy_context().run, function)
        return await asyncio.wrap_future(self._last)

    def close(self) -> None:
        """Close the environment: now, or in its thread once the call that a cancelled episode left there has ended."""
        if self._last is None:
            close_quietly(self.env)
        else:
            self._last.add_done_callback(lambda _: close_quietly(self.env))


def close_quietly(thing: LLMAgentEnv | Session) -> None:
    """Close an environment or a session. An error is a warning in the log: the episode is over."""
    try:
        thing.close()
    except Exception as error:
        _log.warning("closing %s failed: %s", thing, printable(Redactor().text(f"{type(error).__name__}: {error}")))


async def run_episode(played: PlayedEnv, agent: BaseAgent, spec: EpisodeSpec, limits: Limits) -> Trajectory:
    """Play one episode and return its record. The environment stays open."""
    env = played.env
    began = time.monotonic()
    await played.call(lambda: _begin(env, spec))
    trajectory = env.trajectory
    trajectory.group, trajectory.repeat = spec.group, spec.repeat
    tools = env.text_env.tools
    reason: StopReason | None = None
    completion: Completion | None = None
    session: Session | None = None
    try:
        session = Session(agent.session(env, spec.agent_seed))
        while reason is None:
            if spec.keep_points:
                trajectory.points.append(await played.call(env.snapshot))
            asked, completion = time.monotonic(), None
            left = None if limits.max_seconds is None else max(0.0, limits.max_seconds - (asked - began))
            try:
                answer = session.act(env.messages, tools=tools)
                completion = await (answer if left is None else asyncio.wait_for(answer, left))
            except TimeoutError:
                if left is not None and time.monotonic() - asked >= left:
                    reason = StopReason.TIME_LIMIT
                    break
                raise
            except RowOverflowError:
                if not env.path:  # the task itself does not fit: the agent never had a chance
                    raise
                reason = StopReason.ROW_TOKENS
                break
            answered = time.monotonic()
            if completion.stop:
                reason = StopReason.AGENT_STOPPED
                break
            await _step(played, completion)
            trajectory.steps[-1].model_seconds = answered - asked
            reason = limits.reached(trajectory, env.path, time.monotonic() - began)
    except Exception as error:
        env.record_failure(describe_error(error), completion)
        raise
    finally:
        if session is not None:
            close_quietly(session)
    trajectory.stop_reason = reason
    return trajectory


def _begin(env: LLMAgentEnv, spec: EpisodeSpec) -> None:
    if spec.branch is None:
        env.reset(seed=spec.seed, options=None if spec.task is None else {"task": spec.task})
    else:
        env.restore(spec.branch, branch=True)


def describe_error(error: Exception) -> str:
    """Return an error as it is recorded: its type and text."""
    return f"{type(error).__name__}: {error}"


async def _step(played: PlayedEnv, completion: Completion) -> None:
    await played.call(lambda: played.env.step(completion))
