"""The space of all text environments: any Unicode string up to a maximum length."""

from __future__ import annotations

from typing import Any, NoReturn

import gymnasium as gym
import numpy as np
from gymnasium.error import CustomSpaceError
from gymnasium.vector.utils import create_shared_memory


class UnicodeText(gym.spaces.Text):
    """Any string of at most `max_length` characters.

    `gymnasium.spaces.Text` accepts 62 alphanumeric characters by default; agents and environments write any character. Samples are drawn
    from printable ASCII, so that they stay readable in logs.
    """

    def __init__(self, max_length: int = 10_000_000, *, seed: int | np.random.Generator | None = None) -> None:
        printable = "".join(chr(code) for code in range(32, 127))
        super().__init__(max_length, min_length=0, charset=printable, seed=seed)

    def contains(self, x: Any) -> bool:
        return isinstance(x, str) and len(x) <= self.max_length

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """Return a printable text of at most 64 characters."""
        length = int(self.np_random.integers(1, min(64, self.max_length) + 1))
        return "".join(self.np_random.choice(self.character_list, size=length))

    def __repr__(self) -> str:
        return f"UnicodeText(max_length={self.max_length})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UnicodeText) and other.max_length == self.max_length


@create_shared_memory.register(UnicodeText)
def _no_shared_memory(space: UnicodeText, n: int = 1, ctx: Any = None) -> NoReturn:
    """Refuse: Gymnasium's shared memory for `Text` keeps only characters of the charset and returns blanks for all others.

    `AsyncVectorEnv` turns this error into one that names `shared_memory=False`.
    """
    raise CustomSpaceError(f"shared memory can't hold texts of {space}: pass shared_memory=False to AsyncVectorEnv")
