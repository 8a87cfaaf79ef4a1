"""The embedded world as a source of games."""

from __future__ import annotations

import re
from functools import lru_cache, partial

from empg_gym.envs.alfworld.game import compile_game
from empg_gym.envs.alfworld.goals import TASK_TYPES
from empg_gym.envs.alfworld.problem import write_problem
from empg_gym.envs.alfworld.source import LoadedGame
from empg_gym.envs.alfworld.world.household import SIZES, SPLIT_SIZES, VARIATIONS, VERSION, generate
from empg_gym.errors import ConfigError, nearest

_TASK = re.compile(r"(\w+)/([\w-]+)/(0|[1-9]\d*)", re.ASCII)


class EmbeddedWorld:
    """Households of one split and size.

    Ids have the form "train/small/17", or "train/small-varied/17" where rooms vary. A filter changes the indices of the tasks, not
    their ids.

    Args:
        split: "train", "valid_seen" or "valid_unseen".
        size: "full" (as large as the released rooms) or "small" (5-7 receptacles, 4-7 objects).
        task_types: names of the task types to keep.
        rooms: "templates", or "varied" for rooms of `train` that differ from task to task.

    Raises:
        ConfigError: the size or the kind of rooms is unknown.
    """

    def __init__(self, split: str, size: str, task_types: tuple[str, ...], rooms: str = "templates") -> None:
        if size not in SIZES:
            raise ConfigError(f"the embedded ALFWorld has no size {size!r}; {nearest(str(size), SIZES)}")
        if rooms not in VARIATIONS:
            raise ConfigError(f"the embedded ALFWorld has no rooms {rooms!r}; {nearest(str(rooms), VARIATIONS)}")
        self.split = split
        self.size = size
        self._rooms = rooms
        self._kind = f"{size}-varied" if rooms == "varied" and split == "train" else size
        self._offsets = tuple(number - 1 for number, name in TASK_TYPES.items() if name in task_types)

    @property
    def fingerprint(self) -> str:
        return f"embedded-{VERSION}-{self._kind}-{self.split}"

    def __len__(self) -> int:
        return SPLIT_SIZES[self.split] // len(TASK_TYPES) * len(self._offsets)

    def task_id(self, index: int) -> str:
        row, column = divmod(index, len(self._offsets))
        return f"{self.split}/{self._kind}/{row * len(TASK_TYPES) + self._offsets[column]}"

    def has(self, task: str) -> bool:
        match = _TASK.fullmatch(task)
        if match is None or match[1] != self.split or match[2] != self._kind or len(match[3]) > 9:
            return False
        index = int(match[3])
        return index < SPLIT_SIZES[self.split] and index % len(TASK_TYPES) in self._offsets

    def load(self, task: str) -> LoadedGame:
        return _load(self.split, self.size, self._rooms, int(task.rsplit("/", 1)[1]))


@lru_cache(maxsize=256)
def _load(split: str, size: str, rooms: str, index: int) -> LoadedGame:
    household = generate(split, size, index, rooms)
    return LoadedGame(
        game=compile_game(household.problem),
        problem=partial(write_problem, household.problem),
        goals=(household.goal,),
        file=f"{split}/{household.folder}/trial_{size}_{index:06d}/game.tw-pddl",
    )
