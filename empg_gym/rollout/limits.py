"""The limits of an episode.

They are checked after every step in the order of `StopReason`: the task's own end, turns, row tokens, a cut response, seconds.
The limit of tokens in one response is the agent's own; a response that it cut comes with `finish_reason == "length"`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from empg_gym.errors import ConfigError
from empg_gym.trajectory import StopReason, Trajectory


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When a rollout ends an episode that has not ended by itself.

    Raises:
        ConfigError: a value that is no such limit.
    """

    max_turns: int | None = None
    """Responses; None leaves it to the environment's step limit."""
    end_on_cut_response: bool = True
    """A row can't go on behind a response without its end-of-turn token; off for agents that start every turn anew."""
    max_row_tokens: int | None = None
    """Tokens of one row, prompt and responses."""
    max_seconds: float | None = None
    """Wall-clock seconds, model and environment together."""

    def __post_init__(self) -> None:
        if not isinstance(self.end_on_cut_response, bool):
            raise ConfigError(f"the limit end_on_cut_response is true or false, not {self.end_on_cut_response!r}")
        for name in ("max_turns", "max_row_tokens"):
            count = getattr(self, name)
            if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
                raise ConfigError(f"the limit {name} is a whole number of at least 1, not {count!r}")
        seconds = self.max_seconds
        if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < math.inf):
            raise ConfigError(f"the limit max_seconds is a number of seconds above 0, not {seconds!r}")

    def reached(self, trajectory: Trajectory, seconds: float) -> StopReason | None:
        """Return the first limit that the trajectory has reached, if any."""
        last = trajectory.steps[-1]
        if trajectory.stop_reason is not None:
            return trajectory.stop_reason
        if self.max_turns is not None and len(trajectory.steps) >= self.max_turns:
            return StopReason.STEP_LIMIT
        if self.max_row_tokens is not None and row_tokens(trajectory) >= self.max_row_tokens:
            return StopReason.ROW_TOKENS
        if self.end_on_cut_response and last.finish_reason == "length":
            return StopReason.RESPONSE_TOKENS
        if self.max_seconds is not None and seconds >= self.max_seconds:
            return StopReason.TIME_LIMIT
        return None


def row_tokens(trajectory: Trajectory) -> int:
    """Return the tokens of the trajectory's last row."""
    row = trajectory.steps[-1].row
    count = 0
    for step in reversed(trajectory.steps):
        if step.row != row:
            break
        for ids in (step.prompt_token_ids, step.response_token_ids):
            count += 0 if ids is None else len(ids)
    return count
