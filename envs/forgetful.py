"""Experts that fail in some tasks, as human demonstrators do: what a policy learns from them leaves something to reinforcement.

A task is always forgotten or never: that is a function of its id, so that the expert answers alike in every process and after `load_state`.
"""

from __future__ import annotations

import hashlib

from empg_gym.errors import ConfigError


class Forgetful:
    """Decides in which tasks an expert forgets a part of the goal.

    Args:
        share: of the tasks, from 0 to 1.

    Raises:
        ConfigError: the share is not a number from 0 to 1.
    """

    def __init__(self, share: float) -> None:
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            raise ConfigError(f"expert_forgets must be a number from 0 to 1, not {share!r}; 0.5 makes the expert fail in half of the tasks")
        self._limit = round(share * 2**32)

    def in_task(self, task: str) -> bool:
        """Return whether the expert is forgetful in the task with this id."""
        return int.from_bytes(hashlib.sha256(task.encode()).digest()[:4], "big") < self._limit
