"""`GymnasiumTextEnv`: any Gymnasium environment with text observations and actions, as a `TextEnv`.

Rules:
    - A task is a seed of the environment: task i of the split at position s has the seed `3 * i + s`, so that splits share no episode.
    - An action that the action space does not contain, the empty one included, does not step the environment: the last observation is
      repeated, with `valid_action` False.
    - These entries of the environment's `info` are used if present: `admissible_actions`, `instruction`, `success` (or `is_success`),
      `score` (0..1), `valid_action` and `task_type`.
    - A snapshot is a pickled copy of the environment. A state key names the task and the valid actions so far: states that different
      actions lead to count as different states, unless `state` says better.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import gymnasium as gym

from empg_gym.env import Outcome, TextEnv
from empg_gym.errors import ConfigError, TaskError
from empg_gym.own_state import KeyPart

SPLITS = ("train", "valid", "test")
DEFAULT_STEPS = 50
"""Step limit of an environment that is registered without one."""


class GymnasiumTextEnv(TextEnv):
    """A Gymnasium environment as a text environment; see the module docstring.

    Args:
        env: with `gymnasium.spaces.Text` as observation and action space.
        rules: what an agent must know: the setting and the grammar of actions; part of the system prompt.
        split: "train", "valid" or "test": disjoint sets of seeds.
        max_steps: number of actions after which an episode is truncated; None uses the registered `max_episode_steps`, else 50.
        num_tasks: number of tasks of each split.
        success: whether a task is solved, from the last `info` and the sum of rewards; None uses `info["success"]`, and where that is
            missing a task is solved if it terminated with a positive sum of rewards.
        score: score of the episode, 0..1, from the same; None uses `info["score"]`, and where that is missing 1 for a solved task.
        expert: returns the action that an expert takes in the environment, or None.
        state: returns what decides how the episode continues, as plain values, for state keys.

    Raises:
        ConfigError: the environment's observations or actions are not texts, or an argument can't be used.
    """

    splits = SPLITS
    version = "0"

    def __init__(
        self,
        env: gym.Env[Any, Any],
        *,
        rules: str = "",
        split: str = "train",
        max_steps: int | None = None,
        num_tasks: int = 10_000,
        success: Callable[[Mapping[str, Any], float], bool] | None = None,
        score: Callable[[Mapping[str, Any], float], float] | None = None,
        expert: Callable[[gym.Env[Any, Any]], str | None] | None = None,
        state: Callable[[gym.Env[Any, Any]], KeyPart] | None = None,
    ) -> None:
        spaces = {"observations": env.observation_space, "actions": env.action_space}
        wrong = [f"{type(space).__name__} {kind}" for kind, space in spaces.items() if not isinstance(space, gym.spaces.Text)]
        name = env.spec.id if env.spec is not None else type(env.unwrapped).__name__
        if wrong:
            raise ConfigError(f"{name} has {' and '.join(wrong)}; expected texts (gymnasium.spaces.Text) to talk to a language model")
        limit = env.spec.max_episode_steps if env.spec is not None else None
        super().__init__(split=split, max_steps=max_steps if max_steps is not None else limit or DEFAULT_STEPS)
        if not isinstance(num_tasks, int) or num_tasks < 1:
            raise ConfigError(f"num_tasks must be an integer of at least 1, not {num_tasks!r}")
        self.benchmark, self.spec = name, env.spec
        self.env = env
        self._rules, self._tasks = rules, num_tasks
        self._judge, self._rate, self._expert, self._state = success, score, expert, state
        self._shown = self._first = ""
        self._last_info: dict[str, Any] = {}
        self._return = 0.0
        self._over = False
        self._actions: tuple[str, ...] = ()

    @property
    def num_tasks(self) -> int:
        return self._tasks

    @property
    def rules(self) -> str:
        return self._rules

    @property
    def instruction(self) -> str:
        return str(self._last_info.get("instruction", self._first))

    @property
    def task_type(self) -> str:
        return str(self._last_info.get("task_type", ""))

    @property
    def success(self) -> bool:
        if self._judge is not None:
            return bool(self._judge(self._last_info, self._return))
        for key in ("success", "is_success"):
            if key in self._last_info:
                return bool(self._last_info[key])
        return self._over and self._return > 0

    @property
    def score(self) -> float:
        if self._rate is not None:
            value = self._rate(self._last_info, self._return)
        else:
            value = self._last_info.get("score", float(self.success))
        return min(1.0, max(0.0, float(value)))

    @property
    def fingerprint(self) -> str:
        spec = self.env.spec
        parts = (spec.id, sorted(spec.kwargs.items())) if spec is not None else ()
        kind = type(self.env.unwrapped)
        return blake2b(repr((kind.__module__, kind.__qualname__, parts)).encode(), digest_size=8).hexdigest()

    def expert(self) -> str | None:
        if self._task is None:
            raise TaskError("no task yet: call reset() first")
        return None if self._expert is None else self._expert(self.env)

    def close(self) -> None:
        self.env.close()

    def _start(self, task: str) -> str:
        index = int(task.rpartition("-")[2])
        shown, info = self.env.reset(seed=len(SPLITS) * index + SPLITS.index(self.split))
        self._shown = self._first = str(shown)
        self._last_info, self._return, self._over, self._actions = dict(info), 0.0, False, ()
        return self._shown

    def _apply(self, action: str) -> Outcome:
        if self._over or not action or not self.env.action_space.contains(action):
            return Outcome(self._shown, 0.0, self._over, False)
        shown, reward, terminated, truncated, info = self.env.step(action)
        self._shown, self._last_info = str(shown), dict(info)
        self._return += float(reward)
        self._actions += (action,)
        self._over = bool(terminated)
        self._truncated = self._truncated or bool(truncated)
        return Outcome(self._shown, float(reward), self._over, bool(info.get("valid_action", True)))

    def _admissible(self) -> list[str]:
        return [str(action) for action in self._last_info.get("admissible_actions", ())]

    def _save(self) -> bytes:
        state = (self.env, self._shown, self._first, self._last_info, self._return, self._over, self._actions)
        try:
            return bytes(cloudpickle.dumps(state))
        except Exception as error:
            raise TaskError(f"{self.benchmark} can't be copied for a snapshot ({error}); methods without branches need none") from error

    def _load(self, payload: bytes) -> None:
        self.env, self._shown, self._first, self._last_info, self._return, self._over, self._actions = pickle.loads(payload)

    def _state_key(self) -> KeyPart:
        return self._actions if self._state is None else self._state(self.env)
