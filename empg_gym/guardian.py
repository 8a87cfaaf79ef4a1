"""Ends the processes of a process that is gone. Run as a program by `empg_gym.children`; imports nothing but the standard library.

Standard input holds one line per event: `+ GROUP` (a process group was started), `- GROUP` (it has ended), and the same with the path of a
temporary folder. The end of the input means that the process is gone, however it ended. Then
    - every group that is left gets SIGTERM, after `GRACE` seconds SIGKILL;
    - on Linux, every process whose environment names this family is killed: it has left its group;
    - the temporary folders are removed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

VARIABLE = "EMPG_GYM_FAMILY"
"""Environment variable by which the processes of a family are found: `FAMILY:NUMBER;`, a number for each process that was started."""
GRACE = 1.0
"""Seconds between SIGTERM and SIGKILL."""
_ROUNDS = 5
"""Searches for processes outside their group, as one that is killed may have started another."""
_FOLDER_SECONDS = 60.0
"""Longest time for removing the folders: on a busy machine a process that was killed may still be writing to one."""


def kill_group(group: int, number: int = signal.SIGKILL) -> bool:
    """Send a signal to a process group; return whether the group exists."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def main(family: str) -> None:
    """Read events until the input ends, then end what is left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    guarded: set[str] = set()
    for line in sys.stdin:
        sign, _, name = line.rstrip("\n").partition(" ")
        if sign == "+":
            guarded.add(name)
        else:
            guarded.discard(name)
    folders = {name for name in guarded if not name.isdecimal()}
    _end([int(group) for group in guarded - folders], folders, family)


def _end(groups: list[int], folders: set[str], family: str) -> None:
    left = [group for group in groups if kill_group(group, signal.SIGTERM)]
    deadline = time.monotonic() + GRACE
    while left and time.monotonic() < deadline:
        time.sleep(0.01)
        left = [group for group in left if kill_group(group, 0)]
    for group in left:
        kill_group(group)
    kill_members(f"{family}:")
    remove_folders(folders, _FOLDER_SECONDS)


def remove_folders(folders: Iterable[str], seconds: float) -> bool:
    """Remove folders to which processes that are ending may still write; return whether all are gone after at most `seconds`."""
    import shutil

    deadline = time.monotonic() + seconds
    while True:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        folders = list(filter(os.path.lexists, folders))
        if not folders or time.monotonic() > deadline:
            return not folders
        time.sleep(0.05)


def kill_members(name: str) -> None:
    """Kill every process whose name in its family begins with `name`."""
    for _ in range(_ROUNDS):
        found = list(_members(name))
        for process in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        if not found:
            break
        time.sleep(0.02)


def _members(name: str) -> Iterator[int]:
    """Yield the processes whose name in their family begins with `name`; none where there is no /proc."""
    wanted = b"\0" + f"{VARIABLE}={name}".encode()
    with contextlib.suppress(OSError):
        for entry in os.listdir("/proc"):  # noqa: PTH208
            with contextlib.suppress(OSError):
                if entry.isdecimal() and wanted in b"\0" + (Path("/proc") / entry / "environ").read_bytes():
                    yield int(entry)


if __name__ == "__main__":
    main(sys.argv[1])
