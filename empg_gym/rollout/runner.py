"""Many episodes at once.

Rules:
    - Every episode is a coroutine; there is no barrier between them, and a finished one makes room for the next.
    - A stream of episodes owns as many threads as it has episodes under way, so that all of its blocking environments may wait at once.
    - An episode that fails is run again in a fresh environment, `retries` times; then its trajectory is kept with `StopReason.ERROR`.
    - What a user has to mend (a wrong configuration, missing data, an unknown task) is no failed episode: it ends the run.
    - Every environment that was made is closed: after a failure or a cancellation at once, or when the step that it left in a thread has
      ended; else by `Rollout.close`. An error of closing is logged and ends nothing.
"""

from __future__ import annotations

import asyncio
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, TypeVar

from empg_gym.agent_env import LLMAgentEnv
from empg_gym.agents.adapter import AgentLike, as_agent
from empg_gym.errors import ConfigError, DataError, EMPGGymError, MissingDependencyError, TaskError
from empg_gym.recipe import EnvRecipe
from empg_gym.rollout.episode import EpisodeSpec, PlayedEnv, close_quietly, run_episode
from empg_gym.rollout.limits import Limits
from empg_gym.trajectory import StopReason, Trajectory

Result = TypeVar("Result")
_FRAMES = 5
"""Innermost calls of an error that are kept."""
_USER_ERRORS = (ConfigError, DataError, MissingDependencyError, TaskError)


class Rollout:
    """Runs episodes of one agent, `concurrency` at a time.

    Args:
        environment: recipe, or a function that returns a new environment; environments are reused for later episodes.
        agent: anything that `empg_gym.agents.as_agent` accepts; each episode gets its own session.
        limits: when to stop an episode that does not end by itself.
        concurrency: episodes under way at once.
        retries: further runs of an episode that failed.
    """

    def __init__(
        self,
        environment: EnvRecipe | Callable[[], LLMAgentEnv],
        agent: AgentLike,
        *,
        limits: Limits | None = None,
        concurrency: int = 32,
        retries: int = 1,
    ) -> None:
        if concurrency < 1:
            raise ConfigError(f"concurrency must be at least 1, not {concurrency}")
        self.make_env = environment.make if isinstance(environment, EnvRecipe) else environment
        self.agent = as_agent(agent)
        self.limits = limits or Limits()
        self.concurrency = concurrency
        self.retries = retries
        self._free: list[LLMAgentEnv] = []

    def run(self, specs: Sequence[EpisodeSpec], on_done: Callable[[Trajectory], None] | None = None) -> list[Trajectory]:
        """Run all episodes and return their trajectories in the order of `specs`."""

        async def collect() -> list[Trajectory]:
            done: dict[int, Trajectory] = {}
            async for position, trajectory in self.stream(specs):
                done[position] = trajectory
                if on_done is not None:
                    on_done(trajectory)
            return [done[position] for position in range(len(specs))]

        return run_sync(collect())

    async def stream(self, specs: Iterable[EpisodeSpec]) -> AsyncIterator[tuple[int, Trajectory]]:
        """Yield (position in `specs`, trajectory) as episodes end."""
        waiting = enumerate(specs)
        threads = ThreadPoolExecutor(self.concurrency, thread_name_prefix="empg-gym-env")
        running: set[asyncio.Task[tuple[int, Trajectory]]] = set()
        finished: set[asyncio.Task[tuple[int, Trajectory]]] = set()
        try:
            while True:
                while len(running) < self.concurrency and (following := next(waiting, None)) is not None:
                    running.add(asyncio.create_task(self._attempts(*following, threads)))
                if not running:
                    return
                finished, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in finished:
                    yield task.result()
        finally:
            for task in running:
                task.cancel()
            try:
                await asyncio.gather(*running, *finished, return_exceptions=True)
            finally:
                # A step that was cancelled goes on in its thread, as long as it takes; only the interpreter waits for it, at its end.
                threads.shutdown(wait=False)

    def close(self) -> None:
        """Close the environments."""
        while self._free:
            close_quietly(self._free.pop())

    async def _attempts(self, position: int, spec: EpisodeSpec, threads: Executor) -> tuple[int, Trajectory]:
        for attempt in range(1, self.retries + 2):
            played: PlayedEnv | None = None
            try:
                played = PlayedEnv(self._free.pop() if self._free and attempt == 1 else self.make_env(), threads)
                trajectory = await run_episode(played, self.agent, spec, self.limits)
            except BaseException as error:
                if played is not None:
                    played.close()
                if isinstance(error, _USER_ERRORS) or not isinstance(error, Exception):
                    raise
                failed = _failed(None if played is None else played.env, spec, error)
                failed.attempts = attempt
            else:
                trajectory.attempts = attempt
                self._free.append(played.env)
                return position, trajectory
        return position, failed


def _failed(env: LLMAgentEnv | None, spec: EpisodeSpec, error: Exception) -> Trajectory:
    """Return the record of an episode that broke off: its steps so far, and the error."""
    try:
        trajectory = _unstarted(env, spec) if env is None else env.trajectory
    except ConfigError:
        trajectory = _unstarted(env, spec)
    trajectory.group, trajectory.repeat = spec.group, spec.repeat
    trajectory.stop_reason = StopReason.ERROR
    trajectory.error = f"{type(error).__name__}: {error}"
    if not isinstance(error, EMPGGymError):  # one of those says what to do; of any other, its author needs the place
        trajectory.info["traceback"] = _place(error)
    trajectory.success, trajectory.score = False, 0.0
    return trajectory


def _place(error: Exception) -> str:
    """Return the last lines of the error's traceback, without the calls of this package that lead there."""
    entry = error.__traceback__
    while entry is not None and entry.tb_next is not None and _is_ours(str(entry.tb_frame.f_globals.get("__name__", ""))):
        entry = entry.tb_next
    return "".join(traceback.TracebackException(type(error), error, entry, limit=-_FRAMES).format(chain=False)).rstrip()


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in ("empg_gym", "asyncio", "concurrent")


def _unstarted(env: LLMAgentEnv | None, spec: EpisodeSpec) -> Trajectory:
    """Return the record of an episode whose environment was not made or did not start."""
    return Trajectory(
        env_id=env.spec.id if env is not None and env.spec is not None else "",
        env_version=env.text_env.version if env is not None else "",
        data_fingerprint="",
        split=env.text_env.split if env is not None else "",
        task="" if spec.task is None else str(spec.task),
        instruction="",
        seed=spec.seed,
    )


def run_sync(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end, also where an event loop is running already (a notebook)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    outcome: list[Result] = []
    failure: list[BaseException] = []

    def target() -> None:
        try:
            outcome.append(asyncio.run(coroutine))
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]
