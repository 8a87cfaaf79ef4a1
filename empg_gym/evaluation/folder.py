"""The folder of an evaluation: what makes a killed run go on where it stopped.

    config.json          what the results depend on, and the versions that ran
    trajectories.jsonl   one line an episode, written and flushed when it ends
    failures.jsonl       episodes that failed in an earlier run and were run again
    summary.json         written at the end, also of an interrupted run

Rules:
    - A folder belongs to one configuration. The same configuration goes on; another is refused, and the error names what differs.
    - Going on keeps every scored episode and runs the failed and the missing ones. A line that a kill cut off is dropped.
    - One process writes at a time.
    - All files but the lines are replaced whole, so that a reader never sees half of one.
    - Failures move to their file in three steps: the new file is written beside it, the lines lose the failures, the new file takes its
      name. After a kill between two of them, failures among the lines say that the second has not happened: the first is done again. Else
      the third is.
    - What is there is read to its end before anything is written: a damaged line leaves the folder as it was.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from empg_gym.errors import DataError, OutputExistsError
from empg_gym.runs.atomic_write import atomic_write
from empg_gym.runs.lock import FolderLock
from empg_gym.trajectory import StopReason, Trajectory, read_trajectories

CONFIG, TRAJECTORIES, FAILURES, SUMMARY = "config.json", "trajectories.jsonl", "failures.jsonl", "summary.json"
_FREE = frozenset({"versions", "concurrency", "retries", "prices"})
"""Entries of a configuration that may change between the runs of a folder."""
_AS_TRAINED = frozenset({"as_trained"})
_DERIVED = frozenset({"data"}) | _AS_TRAINED
"""Entries of an environment that only say where others come from: the folder of a version without them can be gone on with."""
_NAMED = 4
"""Differences that are named."""
_SHOWN = 80
"""Characters of a value that are shown."""


class RunFolder:
    """The folder of one evaluation, open for writing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._moving = path / f"{FAILURES}.moving"
        self._lines: TextIO | None = None
        self._lock: FolderLock | None = None

    def open(self, config: Mapping[str, Any], keep: Callable[[Trajectory], None]) -> None:
        """Begin a run or go on with one; `keep` is called with each trajectory that need not be run again.

        Raises:
            OutputExistsError: the folder holds something else, another configuration, or another process writes to it.
            DataError: it can't be written to, or a file in it is damaged.
        """
        try:
            with _writing(self.path):
                self.path.mkdir(parents=True, exist_ok=True)
                self._lock = FolderLock(self.path)
                if (self.path / CONFIG).exists():
                    self._resume(config, keep)
                else:
                    self._begin(config)
                self._lines = (self.path / TRAJECTORIES).open("a", encoding="utf-8")
        except BaseException:
            self.close()
            raise

    def append(self, trajectory: Trajectory) -> None:
        """Write the line of a finished episode."""
        assert self._lines is not None
        with _writing(self.path):
            self._lines.write(trajectory.to_json() + "\n")
            self._lines.flush()

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Replace the summary."""
        with _writing(self.path):
            write_json(self.path / SUMMARY, summary)

    def close(self) -> None:
        """Let another process write."""
        if self._lines is not None:
            self._lines.close()
            self._lines = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _begin(self, config: Mapping[str, Any]) -> None:
        if any(self.path.iterdir()):
            raise OutputExistsError(f"{self.path} is not empty and holds no evaluation (no {CONFIG}); give an empty or a new folder")
        write_json(self.path / CONFIG, config)

    def _resume(self, config: Mapping[str, Any], keep: Callable[[Trajectory], None]) -> None:
        before = read_json(self.path / CONFIG)
        now = json.loads(json.dumps(config, default=str))
        different = list(_differences(_bound(before), _bound(now)))
        if different:
            named = "; ".join(_difference(*one) for one in different[:_NAMED])
            more = f"; and {len(different) - _NAMED} more" if len(different) > _NAMED else ""
            raise OutputExistsError(
                f"{self.path} holds a run with another configuration: {named}{more}. "
                "Give another folder, or the same configuration to go on"
            )
        lines = self.path / TRAJECTORIES
        if lines.exists():
            kept, failed = [], []
            for trajectory in read_trajectories(lines):
                if trajectory.stop_reason == StopReason.ERROR:
                    failed.append(trajectory.to_json() + "\n")
                else:
                    kept.append(trajectory.to_json() + "\n")
                    keep(trajectory)
            failures = self.path / FAILURES
            if failed:
                moved = failures.read_text(encoding="utf-8") if failures.exists() else ""
                self._moving.write_text(moved[: moved.rfind("\n") + 1] + "".join(failed), encoding="utf-8")
            atomic_write(lines, "".join(kept))
            if self._moving.exists():
                self._moving.replace(failures)
        write_json(self.path / CONFIG, config)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all."""
    atomic_write(path, json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        DataError: the file is missing or holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path} is missing: expected the folder of an evaluation, as `empg-gym eval --out` writes it") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} can't be read: {error}") from None
    if not isinstance(value, dict):
        raise DataError(f"{path} holds {type(value).__name__}, expected a JSON object")
    return value


def read_config(run: Path) -> dict[str, Any]:
    """Read the configuration of the evaluation in the folder `run`.

    Raises:
        DataError: it is missing, or is not what an evaluation writes.
    """
    config = read_json(run / CONFIG)
    environments, agent = config.get("environments"), config.get("agent")
    if not isinstance(agent, dict) or "name" not in agent or not isinstance(environments, dict) or not environments:
        raise DataError(f"{run} holds no evaluation: its {CONFIG} names no agent or no environments")
    for key, facts in environments.items():
        if not isinstance(facts, dict) or not isinstance(facts.get("kwargs", {}), dict):
            raise DataError(f"{run / CONFIG} is damaged: the entry of {key} is not what `empg-gym eval` writes")
    return config


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give a folder to fill, which becomes `path` when all is done; nothing is left of it if anything fails.

    Raises:
        OutputExistsError: `path` is there and is no empty folder, or it is the working folder, which can't be replaced.
        DataError: it can't be written to.
    """
    path = path.resolve()
    with _writing(path):
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise OutputExistsError(f"{path} is not empty or no folder; remove it or give another folder")
        if path == Path.cwd().resolve():
            raise OutputExistsError(f"{path} is the working folder, which can't be replaced; give a new folder")
        building = path.with_name(f".{path.name}.{os.getpid()}")
        building.mkdir(parents=True)
    try:
        yield building
        with _writing(path):
            building.replace(path)
    finally:
        shutil.rmtree(building, ignore_errors=True)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"{path} can't be written to: {error.strerror}; give another folder") from None


def _bound(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries that must be alike in all runs of a folder."""
    bound = _without(config, _FREE)
    if isinstance(environments := bound.get("environments"), dict):
        bound["environments"] = {key: _without(facts, _DERIVED) for key, facts in environments.items()}
    return {**bound, "agent": _without(bound.get("agent"), _AS_TRAINED)}


def _without(value: Any, names: frozenset[str]) -> Any:
    return {name: entry for name, entry in value.items() if name not in names} if isinstance(value, dict) else value


def _differences(old: Any, new: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield (dotted name, old, new) of the leaves that differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from _differences(old.get(key), new.get(key), f"{name}.{key}" if name else key)
    elif old != new:
        yield name, old, new


def _difference(name: str, old: Any, new: Any) -> str:
    """Return in words how a value differs; of lists, whose beginnings are often alike, what differs first."""
    if not isinstance(old, list) or not isinstance(new, list):
        return f"{name} is {_shown(old)} there and {_shown(new)} now"
    place = next((index for index, (one, other) in enumerate(zip(old, new, strict=False)) if one != other), min(len(old), len(new)))
    there, now = (_shown(value[place]) if place < len(value) else "nothing" for value in (old, new))
    return f"{name} has {_entries(old)} there and {_entries(new)} now, the first difference is entry {place + 1}: {there} there, {now} now"


def _entries(values: list[Any]) -> str:
    return "1 entry" if len(values) == 1 else f"{len(values)} entries"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
