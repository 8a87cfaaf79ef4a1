"""`Session`: one environment and the calls that a client may make.

Rules:
    - A call can play an episode and ask about tasks, tools and the current state. It can't ask for the expert's action or a gold answer,
      and can't restore a state: a state is a pickled object, and those are not accepted from a network.
    - What the environment raises on purpose (`EMPGGymError`) leaves the session as it was. Any other exception ends the session.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from empg_gym.env import TextEnv
from empg_gym.errors import ConfigError, TaskError, nearest
from empg_gym.serve.host import EnvHost

_QUESTIONS = ("state_key", "task_key", "notice", "task_type", "task", "instruction", "success", "score", "render")
"""Attributes and methods without arguments."""
_METHODS = ("task_id", "find_task", "tool_action")


class Session:
    """One environment.

    Args:
        host: makes the environment.
        split: list of tasks; None is the host's default.

    Raises:
        EMPGGymError: what making the environment raises.
    """

    def __init__(self, host: EnvHost, split: str | None = None) -> None:
        self._env = host.make(split)
        inner = self._env.unwrapped
        assert isinstance(inner, TextEnv)
        self._inner = inner
        self.does_io = inner.does_io
        """Whether a call may wait for something outside the process."""

    def answer(self, name: str, arguments: list[Any]) -> Any:
        """Return the answer to a call, as JSON.

        Raises:
            ConfigError: there is no such call, or its arguments are not those that it has.
            EMPGGymError: what the environment raises.
        """
        try:
            return self._answer(name, arguments)
        except gym.error.Error as error:
            raise TaskError(str(error)) from None

    def _answer(self, name: str, arguments: list[Any]) -> Any:
        match name, arguments:
            case "step", [action]:
                return self._env.step(action)
            case "reset", [seed, options]:
                _check_reset(seed, options)
                return self._env.reset(seed=seed, options=options)
            case "get", [str(question)] if question in _QUESTIONS:
                value = getattr(self._inner, question)
                return value() if callable(value) else value
            case "task_id", [index]:
                return self._inner.find_task(index)
            case "find_task", [wanted]:
                return self._inner.find_task(wanted)
            case "tool_action", [str(tool), dict(given)]:
                return self._inner.tool_action(tool, given)
        known = ("reset", "step", "get", "close", *_METHODS)
        if name in known:
            raise ConfigError(f"{name} can't be called with these arguments; see the page about serving for its arguments")
        raise ConfigError(f"a session has no call {name[:80]!r}; {nearest(name[:80], known)}")

    def close(self) -> None:
        """Close the environment."""
        self._env.close()


def _check_reset(seed: object, options: object) -> None:
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int) or seed < 0):
        raise ConfigError(f"seed must be null or an integer of at least 0, not {str(seed)[:80]!r}")
    if options is not None and not isinstance(options, dict):
        raise ConfigError(f"options must be null or an object such as {{'task': 0}}, not {str(options)[:80]!r}")
