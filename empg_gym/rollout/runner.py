"""Many episodes at once.

Rules:
    - Every episode is a coroutine; there is no barrier between them, and a finished one makes room for the next.
    - A stream of episodes owns as many threads as it has episodes under way, so that all environments that do I/O may wait at once.
    - A failed episode is retried in a fresh environment, `retries` times; then its trajectory is kept with `StopReason.ERROR`. Its last
      step holds what the agent saw, its response if there was one, and the error.
    - User errors (a wrong configuration, missing data, an unknown task) are not failed episodes, nor is the failure of the engine that
      generates the responses (`TrainingError`): they abort the run.
    - Every environment that was made is closed: at once after a failure or a cancellation, or when the call that it left in a thread has
      ended; otherwise by `Rollout.close`. An error while closing is logged and has no other effect.
"""

from __future__ import annotations

import asyncio
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from empg_gym.agent_env import EpisodePoint, LLMAgentEnv
from empg_gym.agents.adapter import AgentLike, as_agent
from empg_gym.errors import ConfigError, DataError, EMPGGymError, MissingDependencyError, TaskError, TrainingError
from empg_gym.recipe import EnvRecipe
from empg_gym.rollout.backends import EnvBackend
from empg_gym.rollout.episode import EpisodeSpec, PlayedEnv, close_quietly, describe_error, run_episode
from empg_gym.rollout.limits import Limits
from empg_gym.rollout.replay import replay
from empg_gym.trajectory import Step, StopReason, Trajectory

Result = TypeVar("Result")
_FRAMES = 5
"""Innermost calls of an error that are kept."""
_USER_ERRORS = (ConfigError, DataError, MissingDependencyError, TaskError, TrainingError)


class Rollout:
    """Runs episodes of one agent, `concurrency` at a time.

    Args:
        environment: recipe, or a function that returns a new environment; environments are reused for later episodes.
        agent: anything that `empg_gym.agents.as_agent` accepts; each episode gets its own session.
        limits: when to stop an episode that does not end by itself.
        concurrency: episodes to run at once.
        retries: retries per failed episode.
        backend: where the environments of a recipe run; a function makes its environments in this process.

    Raises:
        ConfigError: a concurrency below 1, or a backend for a function.
    """

    def __init__(
        self,
        environment: EnvRecipe | Callable[[], LLMAgentEnv],
        agent: AgentLike,
        *,
        limits: Limits | None = None,
        concurrency: int = 32,
        retries: int = 1,
        backend: EnvBackend | None = None,
    ) -> None:
        if concurrency < 1:
            raise ConfigError(f"concurrency must be at least 1, not {concurrency}")
        backend = backend or EnvBackend()
        if isinstance(environment, EnvRecipe):
            self.make_env: Callable[[], LLMAgentEnv] = partial(backend.make, environment)
        elif backend.waits:
            raise ConfigError(f"the backend {backend.name!r} needs an EnvRecipe, which other processes can make, not a function")
        else:
            self.make_env = environment
        self._make_in_thread = backend.waits
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
                # A cancelled call continues in its thread for as long as it takes; only the interpreter waits for it, at exit.
                threads.shutdown(wait=False)

    async def replay(self, trajectory: Trajectory, path: Sequence[Step]) -> EpisodePoint:
        """Return the point of a recorded episode after the steps `path`; see `empg_gym.rollout.replay`.

        Raises:
            EnvironmentFailure: the environment reaches another state than the recorded one.
        """
        with ThreadPoolExecutor(1, thread_name_prefix="empg-gym-env") as threads:
            played = PlayedEnv(self._free.pop() if self._free else await self._new_env(threads), threads)
            try:
                point: EpisodePoint = await played.call(partial(replay, played.env, trajectory, path))
            except BaseException:
                played.close()
                raise
            self._free.append(played.env)
            return point

    def close(self) -> None:
        """Close the environments."""
        while self._free:
            close_quietly(self._free.pop())

    async def _attempts(self, position: int, spec: EpisodeSpec, threads: Executor) -> tuple[int, Trajectory]:
        for attempt in range(1, self.retries + 2):
            played: PlayedEnv | None = None
            try:
                env = self._free.pop() if self._free and attempt == 1 else await self._new_env(threads)
                played = PlayedEnv(env, threads)
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

    async def _new_env(self, threads: Executor) -> LLMAgentEnv:
        if not self._make_in_thread:
            return self.make_env()
        making = threads.submit(self.make_env)
        try:
            return await asyncio.wrap_future(making)
        except asyncio.CancelledError:
            making.add_done_callback(_close_made)
            raise


def _close_made(making: Future[LLMAgentEnv]) -> None:
    """Close an environment that was made for a cancelled episode."""
    if not making.cancelled() and making.exception() is None:
        close_quietly(making.result())


def _failed(env: LLMAgentEnv | None, spec: EpisodeSpec, error: Exception) -> Trajectory:
    """Return the record of a failed episode: its steps so far, and the error."""
    try:
        trajectory = _unstarted(env, spec) if env is None else env.trajectory
    except ConfigError:
        trajectory = _unstarted(env, spec)
    trajectory.group, trajectory.repeat = spec.group, spec.repeat
    trajectory.stop_reason = StopReason.ERROR
    trajectory.error = describe_error(error)
    if not isinstance(error, EMPGGymError):  # an EMPGGymError says what to do; for any other, its author needs the place
        trajectory.info["traceback"] = _place(error)
    trajectory.success, trajectory.score = False, 0.0
    return trajectory


def _place(error: Exception) -> str:
    """Return the last lines of the error's traceback, without the calls of this package that lead to it."""
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
    outcome: list[Result] = []
    failure: list[BaseException] = []

    async def keep_result() -> None:
        # asyncio.run formats its task, result included, when it restores the handler of Ctrl-C: seconds for a batch of trajectories.
        outcome.append(await coroutine)

    def target() -> None:
        try:
            asyncio.run(keep_result())
        except BaseException as error:
            failure.append(error)

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(keep_result())
        return outcome[0]
    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]
