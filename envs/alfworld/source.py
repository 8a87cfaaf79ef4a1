"""The source of games: one protocol for the embedded world and the released data."""

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
    """Returns the PDDL problem, for TextWorld."""
    goals: tuple[str, ...]
    """Sentences of the goal, at least one; an episode uses one of them."""
    file: str
    """Path of the game file below its data folder, in upstream's layout; starts with the split and names the task type."""


class GameSource(Protocol):
    """The games of one split."""

    @property
    def fingerprint(self) -> str:
        """Short hash of everything that determines the games."""

    def __len__(self) -> int: ...

    def task_id(self, index: int) -> str:
        """Return the id of the game at `index`."""

    def has(self, task: str) -> bool:
        """Return whether this split has the game, after filtering."""

    def load(self, task: str) -> LoadedGame:
        """Return a game for which `has(task)` is true."""
