"""Processes that this process starts end with it, however it ends.

Rules:
    - Each leads a session of its own and is started with `child_environment`; `guard` registers it, `release` is called when it has ended.
    - A guardian (`empg_gym.guardian`), one small process that starts with the first of them, ends what is left when this process is gone:
      after an error, a signal or kill -9. An orderly exit waits for it.
    - After `end_children`, which an interrupted command calls, no more can be started: a thread that replaces what was ended would keep
      the process from exiting.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import secrets
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from empg_gym import guardian
from empg_gym.errors import EnvironmentFailure
from empg_gym.guardian import VARIABLE, kill_group, kill_members, remove_folders

_EXIT_SECONDS = 5.0
"""Time that an orderly exit waits for the guardian."""
_REMOVAL_SECONDS = 1.0


class _Guardian:
    """The guardian of one process."""

    def __init__(self) -> None:
        self.family = secrets.token_hex(8)
        self.numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._groups: set[int] = set()
        self._ending = False
        # Not a member of its own family, nor of that of this process's parent.
        environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", guardian.__file__, self.family],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
        atexit.register(self.close)

    def add(self, group: int) -> None:
        with self._lock:
            self._groups.add(group)
            self._write(f"+ {group}\n")
            refused = self._ending
        if refused:
            kill_group(group)
            raise EnvironmentFailure("this process is ending: no more processes can be started")

    def remove(self, group: int) -> None:
        with self._lock:
            self._groups.discard(group)
            self._write(f"- {group}\n")

    def add_folder(self, folder: str) -> None:
        with self._lock:
            self._write(f"+ {folder}\n")

    def remove_folder(self, folder: str) -> None:
        with self._lock:
            self._write(f"- {folder}\n")

    def end_all(self) -> None:
        with self._lock:
            self._ending = True
            for group in self._groups:
                kill_group(group)

    def close(self) -> None:
        """Let the guardian end what is left, and wait for it."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_EXIT_SECONDS)

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # somebody killed the guardian, or this process is exiting
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()


@lru_cache(maxsize=1)
def _guardian_of(process: int) -> _Guardian:
    return _Guardian()


def child_environment(base: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment variables for one process to guard: `base` (default: those of this process) and its name in the family."""
    found = _guardian_of(os.getpid())
    return {**(os.environ if base is None else base), VARIABLE: f"{found.family}:{next(found.numbers)};"}


def guard(group: int) -> None:
    """Register a process group that was just started.

    Args:
        group: id of the group, which is the id of its first process.

    Raises:
        EnvironmentFailure: `end_children` was called; the group has been killed.
    """
    _guardian_of(os.getpid()).add(group)


def make_folder(prefix: str) -> str:
    """Make a temporary folder that the guardian removes if this process does not live to call `remove_folder`.

    Args:
        prefix: beginning of the folder's name.

    Returns:
        The absolute path of the folder.
    """
    # Registered first: this process may be killed between any two lines, and starting the guardian takes a while.
    folder = str(Path(tempfile.gettempdir()).resolve() / f"{prefix}{secrets.token_hex(4)}")
    _guardian_of(os.getpid()).add_folder(folder)
    try:
        Path(folder).mkdir(mode=0o700)
    except OSError:  # not ours
        _guardian_of(os.getpid()).remove_folder(folder)
        raise
    return folder


def remove_folder(folder: str) -> None:
    """Remove a folder of `make_folder`; if that takes longer than a second, the guardian does it when this process ends."""
    if remove_folders([folder], _REMOVAL_SECONDS):
        _guardian_of(os.getpid()).remove_folder(folder)


def kill_strays(environment: Mapping[str, str]) -> None:
    """Kill what the process with this `child_environment` started and what has left its group; on Linux only."""
    kill_members(environment[VARIABLE])


def release(group: int) -> None:
    """Forget a process group that has ended."""
    _guardian_of(os.getpid()).remove(group)


def end_children() -> None:
    """Kill every guarded process group of this process, for a process that is about to exit."""
    if _guardian_of.cache_info().currsize:
        _guardian_of(os.getpid()).end_all()
