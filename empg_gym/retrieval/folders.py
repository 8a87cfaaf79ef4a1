"""Build folders atomically, even if several processes build the same one.

Rules:
    - A folder is written under a temporary name next to its final one and renamed once complete; a builder that dies leaves only the
      temporary folder, which the next builder removes.
    - Builders of the same folder wait for each other on a lock file next to it; the first one builds, the others find the folder.
"""

from __future__ import annotations

import errno
import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from empg_gym.errors import DataError
from empg_gym.retrieval.damaged import damaged


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive inter-process lock on the file `path`, which is created if necessary.

    Raises:
        DataError: the folder is not writable.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.open("w")
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise damaged(path, error, "") from error
        raise DataError(f"can't write to {path.parent}: {error.strerror}; choose a writable folder") from error
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def build_once(folder: Path, build: Callable[[Path], None]) -> bool:
    """Create `folder` with `build(temporary folder)`, unless it exists once the lock is held.

    Returns:
        Whether this call built it.
    """
    with locked(folder.with_name(f".{folder.name}.lock")):
        if folder.exists():
            return False
        temporary = folder.with_name(f".{folder.name}.building")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            build(temporary)
            temporary.rename(folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    return True
