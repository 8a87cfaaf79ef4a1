"""Output folders: whether they can be written to, whether they are in use, and folders that appear whole."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from empg_gym.errors import ConfigError, OutputExistsError
from empg_gym.runs.atomic_write import flush_folder
from empg_gym.runs.lock import FolderLock

CONFIG, TRAJECTORIES, SUMMARY = "config.json", "trajectories.jsonl", "summary.json"
"""Files that every run folder has."""
_LEFTOVER = re.compile(r"\.(?:.+\.\d+(?:\.\d+)?|.+\.building-\w+|DS_Store|nfs\w+)\Z")
"""Names of unfinished files (`atomic_write`) and folders (`new_folder`), and of a file system's own."""
OUTCOMES = "outcomes.jsonl"
"""File of a training run: success and score of every task of every evaluation."""


def distinct_names(folders: Sequence[str | Path]) -> list[str]:
    """Return the shortest path endings that distinguish the folders.

    Raises:
        ConfigError: a folder is named twice.
    """
    parts = [Path(folder).resolve().parts for folder in folders]
    twice = next((folder for place, folder in enumerate(folders) if parts[place] in parts[:place]), None)
    if twice is not None:
        raise ConfigError(f"the same folder is named twice: {twice}")
    lengths = range(1, max(map(len, parts), default=0) + 1)
    endings = (["/".join(part[-length:]) for part in parts] for length in lengths)
    return next((names for names in endings if len(set(names)) == len(names)), [])


@contextlib.contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Turn an OSError of the block into one sentence about the output folder.

    Raises:
        ConfigError: the folder can't be written to.
    """
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{folder} can't be written to: {error.strerror or error}; choose another folder with --out") from None


def check_writable(folder: Path) -> None:
    """Check a folder, or the folder that it would be created in, without creating anything.

    Raises:
        ConfigError: the folder can't be created or written to.
    """
    with writing_to(folder):
        existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        if not existing.is_dir():
            raise NotADirectoryError(f"{existing} is a file")
        if not os.access(existing, os.W_OK | os.X_OK):
            raise PermissionError(f"no permission to write to {existing}")


def is_unused(folder: Path) -> bool:
    """Whether the folder is missing, empty, or holds only what killed writers and file managers leave."""
    return not folder.exists() or all(_LEFTOVER.match(path.name) for path in folder.iterdir())


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a folder to fill; it becomes `path` when the block ends, or is removed when the block fails.

    Raises:
        OutputExistsError: `path` exists and is not an empty folder, or is the working folder, which can't be replaced.
        ConfigError: `path` can't be written to.
    """
    path = path.resolve()
    with writing_to(path):
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise OutputExistsError(f"{path} is not empty or not a folder; remove it or choose another folder with --out")
        if path == Path.cwd().resolve():
            raise OutputExistsError(f"{path} is the working folder, which can't be replaced; choose another folder with --out")
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        building = path.with_name(f".{path.name}.building-{secrets.token_hex(4)}")
        building.mkdir()
        lock = FolderLock(building)
    try:
        yield building
        with writing_to(path):
            building.replace(path)
            flush_folder(path.parent)
    finally:
        lock.close()
        shutil.rmtree(building, ignore_errors=True)


def _remove_leftovers(path: Path) -> None:
    """Remove the unfinished folders that killed processes left for `path`; those of running ones are locked."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.building-*"):
        with contextlib.suppress(OSError, OutputExistsError):
            FolderLock(leftover).close()
            shutil.rmtree(leftover, ignore_errors=True)
