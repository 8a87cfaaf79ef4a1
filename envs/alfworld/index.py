"""The list of released games in a split folder, built once and kept in the user's cache folder.

Layout of a release: `json_2.1.x/<split>/<task folder>/<trial folder>/game.tw-pddl`, in older releases next to `traj_data.json`.
Rules, upstream's: folders with "movable" or "Sliced" in their name are skipped, and so are games that are not marked solvable.
The cached list is named by a hash of the names, sizes and times of all files, so a folder is read again only after a change.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from empg_gym.cache import cache_root
from empg_gym.envs.alfworld.goals import SENTENCES, parse_goal
from empg_gym.errors import DataError, MissingSplitError
from empg_gym.runs.atomic_write import atomic_write

GAME_FILE = "game.tw-pddl"
HUMAN_FILE = "traj_data.json"
_FORMAT = 1
"""Changes with the fields of an entry."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One playable game."""

    id: str
    """Folder below the release: split/task folder/trial folder."""
    task_type: str
    goal: str
    """The sentence in the game's grammar."""
    human_goals: tuple[str, ...]
    """The annotators' sentences; empty if the release has none."""
    digest: str
    """Hash of the game file."""


def split_folder(data: Path, split: str) -> Path:
    """Return the folder of a split below `data`, which is a release (`json_2.1.1`) or the folder that holds releases.

    Raises:
        DataError: the data folder does not exist.
        MissingSplitError: it lacks the split; the message lists what it holds.
    """
    if not data.is_dir():
        wrong = "is a file, not a folder" if data.exists() else "does not exist"
        raise DataError(f"the ALFWorld data folder {data} {wrong}; pass the folder that holds json_2.1.1 or json_2.1.3")
    releases = [data, *sorted((f for f in data.glob("json_*") if f.is_dir()), key=lambda f: _version(f.name), reverse=True)]
    for release in releases:
        if (release / split).is_dir():
            return release / split
    found = sorted({f.name for release in releases for f in release.iterdir() if f.is_dir()})
    raise MissingSplitError(
        f"{data} has no ALFWorld split {split!r} (expected {split}/ or json_2.1.x/{split}/ in it); "
        f"it holds {', '.join(found[:6]) or 'no folders'}; pass the folder that holds json_2.1.1 or json_2.1.3"
    )


def read_index(folder: Path) -> tuple[Entry, ...]:
    """Return the playable games of a split folder, sorted by id.

    Raises:
        DataError: the folder holds no playable games, or a file is damaged.
    """
    try:
        trials = list(_trials(folder))
    except OSError as error:
        raise DataError(f"the ALFWorld data folder {folder} can't be read: {error}") from None
    signature = blake2b(repr((_FORMAT, sorted(trials))).encode(), digest_size=12).hexdigest()
    kept = cache_root() / "alfworld" / f"index-{signature}.json"
    entries = _read_kept(kept)
    if entries is None:
        entries = tuple(sorted(_entries(folder, trials), key=lambda entry: entry.id))
        _keep(kept, entries)
    if not entries:
        raise DataError(f"{folder} holds no playable ALFWorld games: {len(trials)} game files, none of them marked solvable")
    return entries


def read_game_file(path: Path) -> dict[str, Any]:
    """Return the contents of a `game.tw-pddl` file.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        game = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"the game file {path} is missing; download the ALFWorld data again or remove its folder") from None
    except (OSError, ValueError) as error:
        raise DataError(f"the game file {path} is damaged ({error}); download it again or remove its folder") from None
    if not isinstance(game, dict) or not all(isinstance(game.get(key), str) for key in ("pddl_problem", "grammar")):
        raise DataError(f"the game file {path} is not an ALFWorld game: it needs the texts 'pddl_problem' and 'grammar'")
    return game


def _version(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", name)]


def _trials(folder: Path) -> Iterator[tuple[str, tuple[int, int], tuple[int, int]]]:
    """Yield, for each trial with a game, its folder below the split and the (size, time) of both files."""
    for task in os.scandir(folder):
        if not task.is_dir() or "movable" in task.name or "Sliced" in task.name:
            continue
        for trial in os.scandir(task.path):
            if not trial.is_dir():
                continue
            stamps = [_stamp(f"{trial.path}/{name}") for name in (GAME_FILE, HUMAN_FILE)]
            if stamps[0] != (-1, -1):
                yield f"{task.name}/{trial.name}", stamps[0], stamps[1]


def _stamp(path: str) -> tuple[int, int]:
    try:
        found = os.stat(path)  # noqa: PTH116 (two calls per game: pathlib is four times slower)
    except FileNotFoundError:
        return -1, -1
    return found.st_size, found.st_mtime_ns


def _entries(folder: Path, trials: list[tuple[str, tuple[int, int], tuple[int, int]]]) -> Iterator[Entry]:
    for name, _, human in trials:
        path = folder / name / GAME_FILE
        game = read_game_file(path)
        if game.get("solvable") is not True:
            continue
        kind = name.split("-", 1)[0]
        try:
            if kind not in SENTENCES:
                problem = game["pddl_problem"].lower()
                kind = parse_goal(problem[problem.find("(:goal") :]).task_type
            goal = _sentence(game["grammar"])
        except (DataError, ValueError) as error:
            raise DataError(f"the game file {path} is damaged: {error}") from None
        digest = blake2b(path.read_bytes(), digest_size=8).hexdigest()
        goals = _human_goals(folder / name / HUMAN_FILE) if human != (-1, -1) else ()
        yield Entry(f"{folder.name}/{name}", kind, goal, goals, digest)


def _sentence(grammar: str) -> str:
    match = re.search(r'Your task is to: ((?:[^"\\]|\\.)*)"', grammar)
    if match is None:
        raise DataError("its grammar lacks the sentence 'Your task is to: ...'")
    text: str = json.loads(f'"{match[1]}"')
    return text.removesuffix(".")


def _human_goals(path: Path) -> tuple[str, ...]:
    try:
        notes = json.loads(path.read_bytes())["turk_annotations"]["anns"]
        return tuple(text for note in notes if (text := str(note["task_desc"]).strip()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"the file {path} is damaged ({error!r}); download it again or remove it") from None


def _read_kept(path: Path) -> tuple[Entry, ...] | None:
    try:
        rows = json.loads(path.read_bytes())
        return tuple(Entry(**{**row, "human_goals": tuple(row["human_goals"])}) for row in rows)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _keep(path: Path, entries: tuple[Entry, ...]) -> None:
    """Write the list atomically; without a writable cache folder it is built again next time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, json.dumps([asdict(entry) for entry in entries]))
    except OSError:
        return
