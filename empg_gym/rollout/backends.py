"""Where the environments of a rollout run.

"inline" makes them in this process; "processes" gives each environment a process of its own, with a deadline for every step and reset:
one that hangs, dies or exits costs its episode, which is retried, and nothing else. Any other backend is `module:object`: a function
`f(recipe, backend)` that returns an `LLMAgentEnv`, called in a thread.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from empg_gym.agent_env import LLMAgentEnv
from empg_gym.errors import ConfigError, nearest
from empg_gym.import_object import import_object
from empg_gym.recipe import EnvRecipe

BACKENDS: dict[str, str] = {
    "inline": "empg_gym.rollout.backends:make_inline",
    "processes": "empg_gym.rollout.process_env:make_in_process",
}
"""Name to entry point."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvBackend:
    """Where environments run, as a picklable value.

    Example:
        `EnvBackend(name="processes", step_seconds=10.0)`

    Raises:
        ConfigError: an unknown name, or seconds that are not above 0.
    """

    name: str = "inline"
    """"inline", "processes", or a user's own as `module:object`."""
    step_seconds: float = 30.0
    """Longest time for one step; "inline" has no deadline."""
    reset_seconds: float = 120.0
    """Longest time for one reset, and for making the environment."""

    def __post_init__(self) -> None:
        if self.name not in BACKENDS and ":" not in self.name:
            raise ConfigError(f"unknown backend of environments {self.name!r}; {nearest(self.name, BACKENDS)}")
        for field in ("step_seconds", "reset_seconds"):
            seconds = getattr(self, field)
            if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
                raise ConfigError(f"{field} must be a number of seconds above 0, not {seconds!r}")

    @property
    def waits(self) -> bool:
        """Whether making an environment waits for something outside this process, so that several should be made at once in threads."""
        return self.name != "inline"

    def make(self, recipe: EnvRecipe) -> LLMAgentEnv:
        """Return a new environment.

        Raises:
            ConfigError: the backend of a user's own cannot be imported or returns something else, or the recipe cannot be made.
            EnvironmentFailure: the environment's process died or was late.
        """
        make: Callable[[EnvRecipe, EnvBackend], LLMAgentEnv] = import_object(BACKENDS.get(self.name, self.name))
        made = make(recipe, self)
        if not isinstance(made, LLMAgentEnv):
            raise ConfigError(f"the backend of environments {self.name!r} must return an LLMAgentEnv, not {type(made).__name__}")
        return made


def make_inline(recipe: EnvRecipe, backend: EnvBackend) -> LLMAgentEnv:
    """Return an environment in this process: the backend "inline"."""
    return recipe.make()
