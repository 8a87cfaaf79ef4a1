"""One process at a time writes to a run's folder, whoever started it.

Rules:
    - The lock is on the folder itself (flock) and leaves no file in it. It ends with the process that holds it, however that ends.
    - Where the file system knows no such locks, there is none.
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
        folder: a folder that is there.

    Raises:
        OutputExistsError: another run holds it.
        OSError: the folder can't be opened.
    """

    def __init__(self, folder: Path) -> None:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        self._free = weakref.finalize(self, os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise OutputExistsError(f"another run is writing to {folder}; wait for it or give another folder") from None
        except OSError:
            pass

    def close(self) -> None:
        """Let another process write."""
        self._free()
