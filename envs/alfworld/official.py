"""The released games as a source: `json_2.1.1`, `json_2.1.3` and data in the same layout."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

from empg_gym.envs.alfworld.game import Game, compile_game
from empg_gym.envs.alfworld.index import GAME_FILE, read_game_file, read_index, split_folder
from empg_gym.envs.alfworld.problem import parse_problem
from empg_gym.envs.alfworld.source import LoadedGame
from empg_gym.errors import ConfigError, DataError


class OfficialGames:
    """The playable games of one split, sorted by their ids ("valid_seen/<task folder>/<trial folder>").

    Args:
        data: a release folder, or a folder of releases (the newest one with this split is used).
        split: name of the split's folder.
        human: use the annotators' sentences instead of the templated one.
        task_types: names of the task types to keep.

    Raises:
        DataError: the folder or the split is missing, a file is damaged, or a game lacks the requested human goals.
        ConfigError: no game has one of these task types.
    """

    def __init__(self, data: Path, split: str, human: bool, task_types: tuple[str, ...]) -> None:
        folder = split_folder(data, split)
        self._release = folder.parent
        self._human = human
        entries = [entry for entry in read_index(folder) if entry.task_type in task_types]
        if not entries:
            raise ConfigError(f"{folder} holds no games of the task types {', '.join(task_types)}; choose others or omit the filter")
        bare = next((entry.id for entry in entries if human and not entry.human_goals), None)
        if bare is not None:
            raise DataError(f"the game {bare} has no human goals (this release lacks its traj_data.json); use goals='template'")
        self._entries = {entry.id: entry for entry in entries}
        self._ids = tuple(self._entries)
        parts = [(entry.id, entry.digest, entry.human_goals if human else ()) for entry in entries]
        self._fingerprint = f"official-{blake2b(repr(parts).encode(), digest_size=6).hexdigest()}"

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    def __len__(self) -> int:
        return len(self._ids)

    def task_id(self, index: int) -> str:
        return self._ids[index]

    def has(self, task: str) -> bool:
        return task in self._entries

    def load(self, task: str) -> LoadedGame:
        entry = self._entries[task]
        path = self._release / task / GAME_FILE
        return LoadedGame(
            game=_compile(path, entry.digest),
            problem=lambda: read_game_file(path)["pddl_problem"],
            goals=entry.human_goals if self._human else (entry.goal,),
            file=f"{task}/{GAME_FILE}",
        )


@lru_cache(maxsize=4096)
def _compile(path: Path, _digest: str) -> Game:
    """Compile a game file; the digest tells versions of a file apart. A game takes about 35 kB, all of `train` 125 MB."""
    try:
        return compile_game(parse_problem(read_game_file(path)["pddl_problem"]))
    except DataError as error:
        message = str(error)
        raise DataError(message if str(path) in message else f"the game file {path} is damaged: {message}") from None
