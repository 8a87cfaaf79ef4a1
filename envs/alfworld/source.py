"""Where games come from: one protocol for the embedded world and for the released data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from empg_gym.envs.alfworld.game import Game


@dataclass(frozen=True, slots=True)
class LoadedGame:
    """One game, ready to play."""

    game: Game
    problem: Callable[[], str]
    """Gives the PDDL problem text, for TextWorld."""
    goals: tuple[str, ...]
    """Sentences of the goal, one of which an episode uses; at least one."""
    file: str
    """Path of the game file below its data folder, in upstream's layout; begins with the split and names the task type."""


class GameSource(Protocol):
    """The games of one split."""

    @property
    def fingerprint(self) -> str:
        """Short hash of everything that the games are made of."""

    def __len__(self) -> int: ...

    def task_id(self, index: int) -> str:
        """Id of the game at `index`."""

    def has(self, task: str) -> bool:
        """Whether there is such a game in this split, after filtering."""

    def load(self, task: str) -> LoadedGame:
        """Return the game; `has(task)` holds."""
