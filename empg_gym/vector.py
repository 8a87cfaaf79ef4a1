"""Many environments at once, with a bound on the seconds of a step: Gymnasium's vector API over processes that may fail.

Rules:
    - Every step and every reset has a deadline. An environment that hangs, dies or raises is ended and replaced; the others go on.
    - The episode of a lost environment ends there: last observation again, reward 0, truncated, and `infos["error"]` says what happened
      (with Gymnasium's mask `infos["_error"]`). Such an episode is an error, not a failure of the agent.
    - The replacement is made while the others work. Its seed follows from the environment's own seed and the number of replacements, so
      that a run with the same losses is the same run.
    - An environment that is lost `max_losses` times in a row without a step between ends the run: `EnvironmentFailure`.
"""

from __future__ import annotations

import multiprocessing
import operator
import time
from collections.abc import Callable, Sequence
from multiprocessing.context import BaseContext
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from empg_gym.errors import ConfigError, EnvironmentFailure
from empg_gym.workers import Worker, WorkerLost

EnvFn = Callable[[], gym.Env[str, str]]


class BoundedVectorEnv(VectorEnv[tuple[str, ...], Sequence[str], NDArray[Any]]):
    """Environments in processes of their own, none of which can stop the others.

    Args:
        env_fns: make the environments, each in its process.
        step_seconds: time for one step.
        reset_seconds: time for one reset, making the environment included.
        autoreset_mode: `NEXT_STEP` (the step after an episode's end resets) or `DISABLED` (`reset(options={"reset_mask": …})`).
        max_losses: losses in a row of one environment that end the run.
        context: how processes are started: "fork", "forkserver", "spawn"; None takes Python's default.

    Raises:
        ConfigError: no environment, or a value that can't be used.
        EnvironmentFailure: an environment can't be made.

    Example:
        >>> envs = BoundedVectorEnv([lambda: gym.make("EMPG/ALFWorld-v0")] * 8, step_seconds=5.0)
        >>> observations, infos = envs.reset(seed=0)
        >>> observations, rewards, terminated, truncated, infos = envs.step(["look"] * 8)
    """

    def __init__(
        self,
        env_fns: Sequence[EnvFn],
        *,
        step_seconds: float = 30.0,
        reset_seconds: float = 120.0,
        autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP,
        max_losses: int = 5,
        context: str | None = None,
    ) -> None:
        if not env_fns:
            raise ConfigError("env_fns is empty: give at least one function that makes an environment")
        if step_seconds <= 0 or reset_seconds <= 0 or max_losses < 1:
            raise ConfigError(
                "step_seconds and reset_seconds must be above 0 and max_losses at least 1, "
                f"not {step_seconds}, {reset_seconds} and {max_losses}"
            )
        if autoreset_mode not in (AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED):
            raise ConfigError(f"autoreset_mode must be NEXT_STEP or DISABLED, not {autoreset_mode}")
        self.num_envs = len(env_fns)
        self.step_seconds, self.reset_seconds, self.max_losses = step_seconds, reset_seconds, max_losses
        self.autoreset_mode = autoreset_mode
        self._env_fns = list(env_fns)
        self._context: BaseContext = multiprocessing.get_context(context)
        self._workers: list[Worker] = []
        for env_fn in self._env_fns:
            self._workers.append(self._start(env_fn))
        self._seeds: list[int | None] = [None] * self.num_envs
        self._replaced = [0] * self.num_envs
        self._losses = [0] * self.num_envs
        self._fresh = [True] * self.num_envs
        """Environments that have not been reset since they were made."""
        self._ended = np.ones(self.num_envs, dtype=np.bool_)
        """Environments whose episode is over."""
        self._last = [""] * self.num_envs
        try:
            for worker in self._workers:
                worker.ask("describe")
            deadline = time.monotonic() + reset_seconds
            described = [worker.answer(deadline) for worker in self._workers]
        except WorkerLost as loss:
            self.close()
            raise EnvironmentFailure(f"an environment could not be made: {loss}") from None
        self.single_observation_space, self.single_action_space, metadata, self.spec = described[0]
        if not isinstance(self.single_observation_space, gym.spaces.Text):
            self.close()
            raise ConfigError(f"these are vectors of text environments; this one observes {self.single_observation_space}")
        self.metadata = {**metadata, "autoreset_mode": autoreset_mode}
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    @property
    def replacements(self) -> int:
        """Environments that were lost and replaced so far."""
        return sum(self._replaced)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[tuple[str, ...], dict[str, Any]]:
        """Start episodes.

        Args:
            seed: one for all (environment i gets `seed + i`), or one each; numbers of NumPy are welcome.
            options: passed on; `reset_mask` (bool, one each) names the environments to reset, the others stay as they are.

        Raises:
            EnvironmentFailure: an environment could not be reset, `max_losses` times.
        """
        chosen = dict(options or {})
        mask = np.asarray(chosen.pop("reset_mask", np.ones(self.num_envs, dtype=np.bool_)), dtype=np.bool_)
        if mask.shape != (self.num_envs,):
            raise ConfigError(f"reset_mask must have one entry for each of the {self.num_envs} environments, not the shape {mask.shape}")
        seeds = _seeds(seed, self.num_envs)
        if len(seeds) != self.num_envs:
            raise ConfigError(f"{len(seeds)} seeds for {self.num_envs} environments: give one number, or one for each")
        waiting = [int(index) for index in np.flatnonzero(mask)]
        for index in waiting:
            if seeds[index] is not None:
                self._seeds[index], self._replaced[index] = seeds[index], 0
        infos: dict[str, Any] = {}
        while waiting:
            for index in waiting:
                self._workers[index].ask("reset", self._next_seed(index) if seeds[index] is None else seeds[index], chosen or None)
            deadline = time.monotonic() + self.reset_seconds
            lost = []
            for index in waiting:
                try:
                    self._last[index], info = self._workers[index].answer(deadline)
                except WorkerLost as loss:
                    self._replace(index, loss)
                    seeds[index] = None
                    lost.append(index)
                else:
                    self._begun(index)
                    infos = self._add_info(infos, info, index)
            waiting = lost
        return self._observations(), infos

    def step(
        self, actions: Sequence[str]
    ) -> tuple[tuple[str, ...], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Carry out one action in each environment; those whose episode ended at the step before are reset instead (`NEXT_STEP`).

        Raises:
            EnvironmentFailure: an environment was lost `max_losses` times in a row.
        """
        if len(actions) != self.num_envs:
            raise ConfigError(f"{len(actions)} actions for {self.num_envs} environments")
        resetting = self._ended.copy()
        if self.autoreset_mode is AutoresetMode.DISABLED and resetting.any():
            raise ConfigError(f"the episodes of environments {np.flatnonzero(resetting).tolist()} are over: reset them with a reset_mask")
        for index, worker in enumerate(self._workers):
            if resetting[index]:
                worker.ask("reset", self._next_seed(index), None)
            else:
                worker.ask("step", actions[index])
        now = time.monotonic()
        rewards = np.zeros(self.num_envs, dtype=np.float64)
        terminated = np.zeros(self.num_envs, dtype=np.bool_)
        truncated = np.zeros(self.num_envs, dtype=np.bool_)
        infos: dict[str, Any] = {}
        for index, worker in enumerate(self._workers):
            try:
                answer = worker.answer(now + (self.reset_seconds if resetting[index] else self.step_seconds))
            except WorkerLost as loss:
                self._replace(index, loss)
                truncated[index], info = True, {"error": str(loss)}
            else:
                if resetting[index]:
                    self._last[index], info = answer
                    self._begun(index)
                else:
                    self._last[index], rewards[index], terminated[index], truncated[index], info = answer
                    self._losses[index] = 0
            infos = self._add_info(infos, info, index)
        self._ended = terminated | truncated
        return self._observations(), rewards, terminated, truncated, infos

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Return an attribute of each environment, or what its method returns; an environment that is lost at it raises.

        Raises:
            EnvironmentFailure: an environment hung, died or raised; it has been replaced, and its episode is over.
        """
        for worker in self._workers:
            worker.ask("call", name, args, kwargs)
        deadline = time.monotonic() + self.step_seconds
        results: list[Any] = []
        lost: list[str] = []
        for index, worker in enumerate(self._workers):
            try:
                results.append(worker.answer(deadline))
            except WorkerLost as loss:
                self._replace(index, loss)
                self._ended[index] = True
                lost.append(f"environment {index}: {loss}")
        if lost:
            raise EnvironmentFailure(f"{name!r} failed in {'; '.join(lost)}")
        return tuple(results)

    def close_extras(self, **kwargs: Any) -> None:
        for worker in self._workers:
            worker.end(grace=1.0)
        self._workers = []

    def _start(self, env_fn: EnvFn) -> Worker:
        return Worker(env_fn, self._context, [worker.connection for worker in self._workers])

    def _replace(self, index: int, loss: WorkerLost) -> None:
        self._workers[index].end()
        self._losses[index] += 1
        if self._losses[index] >= self.max_losses:
            raise EnvironmentFailure(f"environment {index} was lost {self._losses[index]} times in a row; the last time: {loss}")
        siblings = [worker.connection for number, worker in enumerate(self._workers) if number != index]
        self._workers[index] = Worker(self._env_fns[index], self._context, siblings)
        self._replaced[index] += 1
        self._fresh[index] = True

    def _next_seed(self, index: int) -> int | None:
        """Return the seed of the next reset: None lets the environment go on with its own generator."""
        seed = self._seeds[index]
        if seed is None or not self._fresh[index]:
            return None
        return int(np.random.SeedSequence([seed, self._replaced[index]]).generate_state(1)[0])

    def _begun(self, index: int) -> None:
        self._fresh[index] = False
        self._ended[index] = False

    def _observations(self) -> tuple[str, ...]:
        return tuple(self._last)


def _seeds(seed: int | Sequence[int | None] | None, number: int) -> list[int | None]:
    """Return a seed for each environment."""
    if seed is None:
        return [None] * number
    try:
        first = operator.index(seed)  # type: ignore[arg-type]
    except TypeError:
        try:
            return [None if one is None else operator.index(one) for one in seed]  # type: ignore[union-attr]
        except TypeError:
            raise ConfigError(f"seed must be a whole number, or one (or None) for each environment, not {seed!r}") from None
    return [first + index for index in range(number)]


def make_bounded(
    env_id: str, num_envs: int, *, step_seconds: float = 30.0, reset_seconds: float = 120.0, **kwargs: Any
) -> BoundedVectorEnv:
    """Return `num_envs` environments of one id; `kwargs` are arguments of `gym.make`."""
    return BoundedVectorEnv([_Maker(env_id, kwargs)] * num_envs, step_seconds=step_seconds, reset_seconds=reset_seconds)


class _Maker:
    """Makes an environment in another process, where the package may not have been imported yet."""

    def __init__(self, env_id: str, kwargs: dict[str, Any]) -> None:
        self.env_id, self.kwargs = env_id, kwargs

    def __call__(self) -> gym.Env[Any, Any]:
        import empg_gym  # noqa: F401 (registers the ids)

        # Not registration.make: "module:id" and gym.make's own arguments (max_episode_steps) are welcome here.
        return gym.make(self.env_id, disable_env_checker=True, **self.kwargs)
