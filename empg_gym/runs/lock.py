"""One process at a time writes to a run folder.

Rules:
    - The lock is on the folder itself (flock) and creates no file. It ends with the process that holds it, even if that is killed.
    - On file systems without such locks, nothing is locked.
"""

from __future__ import annotations

import fcntl
import os
import weakref
from pathlib import Path

from empg_gym.errors import OutputExistsError


class FolderLock:
    """The right to write to a folder, held until `close`.

    Args:
        folder: an existing folder.

    Raises:
        OutputExistsError: another run holds the lock.
        OSError: the folder can't be opened.
    """

    def __init__(self, folder: Path) -> None:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        self._free = weakref.finalize(self, os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise OutputExistsError(f"another run is writing to {folder}; wait for it or choose another folder with --out") from None
        except OSError:
            pass

    def close(self) -> None:
        """Release the lock."""
        self._free()
