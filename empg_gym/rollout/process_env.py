"""`ProcessEnv`: a text environment whose work happens in a process of its own.

Rules:
    - It behaves as the environment of the recipe would in this process: equal seeds give equal episodes, and an `EMPGGymError` is raised
      as it is.
    - Constants (rules, tools, number of tasks) are asked for once; what changes with a step comes back with the step's answer.
    - A process that is late, dies or raises anything else is ended, and the call raises `EnvironmentFailure`. A rollout then makes a
      new environment, with a new process, and retries the episode.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from empg_gym.agent_env import LLMAgentEnv
from empg_gym.env import GoldAnswer, State, TextEnv
from empg_gym.errors import EnvironmentFailure, TaskError
from empg_gym.recipe import EnvRecipe
from empg_gym.rollout.proxy_env import ProxyEnv
from empg_gym.rollout.worker import Worker, WorkerLost

if TYPE_CHECKING:
    from empg_gym.rollout.backends import EnvBackend

_ATTRIBUTES = ("benchmark", "splits", "version", "split", "max_steps", "render_mode", "metadata")
_CONSTANTS = ("num_tasks", "rules", "fingerprint", "split_rule", "native_protocol", "tools", "_variant")
_STATUS = ("task", "instruction", "success", "score", "task_type", "notice")
_GRACE = 1.0
"""Seconds in which a process may close its environment."""


def make_in_process(recipe: EnvRecipe, backend: EnvBackend) -> LLMAgentEnv:
    """Return an environment in a process of its own: the backend "processes"."""
    return recipe.wrap(ProcessEnv(recipe, step_seconds=backend.step_seconds, reset_seconds=backend.reset_seconds))


class ProcessEnv(ProxyEnv):
    """The environment of a recipe, in a process of its own.

    Args:
        recipe: what to make in the process; its chat settings are not used here.
        step_seconds: longest time for one step or another question.
        reset_seconds: longest time for making the environment, for one reset and for restoring a state.

    Raises:
        EnvironmentFailure: the process died, was late or raised while it made the environment.
        EMPGGymError: what making the environment raises.
    """

    def __init__(self, recipe: EnvRecipe, *, step_seconds: float, reset_seconds: float) -> None:
        self._seconds = {"step_seconds": step_seconds, "reset_seconds": reset_seconds}
        # An id that the user registered in this process alone goes to the other one with its specification.
        self._worker = Worker(partial(_ServedEnv, recipe, gym.registry.get(recipe.env_id)))
        self._status: dict[str, Any] = {}
        try:
            attributes, self._constants, self.spec, self.wording = self._ask("describe", limit="reset_seconds")
        except BaseException:
            self._worker.end()
            raise
        vars(self).update(attributes)
        super().__init__(split=self.split, max_steps=self.max_steps, render_mode=self.render_mode)

    # Episodes

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        (observation, info), self._status = self._ask("reset", seed, options, limit="reset_seconds")
        return self._seen(observation), info

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        (observation, reward, terminated, truncated, info), self._status = self._ask("step", action)
        return self._seen(observation), reward, terminated, truncated, info

    def restore(self, state: State) -> tuple[str, dict[str, Any]]:
        (observation, info), self._status = self._ask("restore", state, limit="reset_seconds")
        return self._seen(observation), info

    def snapshot(self) -> State:
        state: State = self._call("snapshot")
        return state

    def expert(self) -> str | None:
        action: str | None = self._call("expert")
        return action

    def expert_thought(self) -> str:
        return str(self._call("expert_thought"))

    def gold_answer(self) -> GoldAnswer | None:
        answer: GoldAnswer | None = self._call("gold_answer")
        return answer

    @property
    def notice(self) -> str:
        return str(self._status.get("notice", ""))

    def close(self) -> None:
        self._worker.end(_GRACE)

    def _call(self, method: str, *arguments: Any) -> Any:
        return self._ask("call", method, arguments)

    def _ask(self, name: str, *arguments: Any, limit: str = "step_seconds") -> Any:
        try:
            return self._worker.ask(name, *arguments, seconds=self._seconds[limit], setting=limit)
        except WorkerLost as loss:
            raise EnvironmentFailure(f"the environment in process {self._worker.pid} was lost: {loss}") from None

    def _current(self, name: str) -> Any:
        if name not in self._status:
            raise TaskError("no task yet: call reset() first")
        return self._status[name]

    def _seen(self, observation: str) -> str:
        self._task, self._observation = self._status["task"], observation
        return observation


class _ServedEnv:
    """The environment in its process."""

    def __init__(self, recipe: EnvRecipe, spec: EnvSpec | None) -> None:
        if spec is not None:
            gym.registry.setdefault(recipe.env_id, spec)
        self._env: gym.Env[Any, Any] = recipe.make_env()
        inner = self._env.unwrapped
        assert isinstance(inner, TextEnv)
        self._inner = inner

    def answer(self, name: str, arguments: tuple[Any, ...]) -> Any:
        inner = self._inner
        match name:
            case "describe":
                attributes = {one: getattr(inner, one) for one in _ATTRIBUTES}
                wording = getattr(inner, "wording", None)
                constants = {one: getattr(inner, one) for one in _CONSTANTS}
                return attributes, constants, self._env.spec, getattr(wording, "name", wording)
            case "reset":
                seed, options = arguments
                return self._env.reset(seed=seed, options=options), self._status()
            case "step":
                return self._env.step(*arguments), self._status()
            case "restore":
                return inner.restore(*arguments), self._status()
            case "call":
                method, given = arguments
                return getattr(inner, method)(*given)
        raise ValueError(name)

    def close(self) -> None:
        self._env.close()

    def _status(self) -> dict[str, Any]:
        return {**{name: getattr(self._inner, name) for name in _STATUS}, "state_key": self._inner.state_key()}
