"""The limits of an episode.

They are checked after every step in the order of `StopReason`: the task's own end, steps, row tokens, a cut response, seconds. The agent
itself limits the tokens of a response and marks a cut one with `finish_reason == "length"`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from empg_gym.errors import ConfigError
from empg_gym.trajectory import Step, StopReason, Trajectory


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When a rollout ends an episode before the environment does.

    Raises:
        ConfigError: a value cannot be used as a limit.
    """

    max_steps: int | None = None
    """Maximum number of steps; None leaves it to the environment's own limit."""
    end_on_cut_response: bool = True
    """Whether a cut response ends the episode: a row can't continue after a response without its end-of-turn token. Off for agents that
    build the prompt of every step from scratch."""
    max_row_tokens: int | None = None
    """Maximum tokens of one row, prompt and responses."""
    max_seconds: float | None = None
    """Maximum wall-clock seconds, model and environment together."""

    def __post_init__(self) -> None:
        if not isinstance(self.end_on_cut_response, bool):
            raise ConfigError(f"the limit end_on_cut_response is true or false, not {self.end_on_cut_response!r}")
        for name in ("max_steps", "max_row_tokens"):
            count = getattr(self, name)
            if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
                raise ConfigError(f"the limit {name} is a whole number of at least 1, not {count!r}")
        seconds = self.max_seconds
        if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < math.inf):
            raise ConfigError(f"the limit max_seconds is a number of seconds above 0, not {seconds!r}")

    def reached(self, trajectory: Trajectory, path: Sequence[Step], seconds: float) -> StopReason | None:
        """Return the first limit that an episode has reached, if any.

        Args:
            trajectory: the record of the episode.
            path: all its steps, those before a branch point included.
            seconds: since it began.
        """
        last = path[-1]
        if trajectory.stop_reason is not None:
            return trajectory.stop_reason
        if self.max_steps is not None and len(path) >= self.max_steps:
            return StopReason.STEP_LIMIT
        if self.max_row_tokens is not None and row_tokens(path) >= self.max_row_tokens:
            return StopReason.ROW_TOKENS
        if self.end_on_cut_response and last.finish_reason == "length":
            return StopReason.RESPONSE_TOKENS
        if self.max_seconds is not None and seconds >= self.max_seconds:
            return StopReason.TIME_LIMIT
        return None


def row_tokens(path: Sequence[Step]) -> int:
    """Return the number of tokens in the last row of an episode's steps."""
    row = path[-1].row
    count = 0
    for step in reversed(path):
        if step.row != row:
            break
        for ids in (step.prompt_token_ids, step.response_token_ids):
            count += 0 if ids is None else len(ids)
    return count
