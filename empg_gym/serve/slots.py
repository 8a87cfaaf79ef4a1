"""`SessionSlots`: the number of open sessions of a server, over all its worker processes.

Each worker counts its own sessions in shared memory and adds up all counts before it opens one. When a worker dies, the process that
started it clears its count.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import struct
from collections.abc import Iterator

_WIDTH = struct.calcsize("q")
_ABSENT = -1
"""Count of a worker that doesn't serve."""


class SessionSlots:
    """The counts.

    Args:
        limit: open sessions, over all workers.
        workers: number of worker processes.
        worker: number of this one.
        file: descriptor of a file that all workers share, from `shared_file`; None for one worker.
    """

    def __init__(self, limit: int, *, workers: int = 1, worker: int = 0, file: int | None = None) -> None:
        self.limit = limit
        self.worker = worker
        self._workers, self._file = workers, file
        self._counts = mmap.mmap(-1 if file is None else file, workers * _WIDTH)
        if file is None:
            self.enter()

    @property
    def open(self) -> int:
        """Number of open sessions."""
        return sum(max(0, self._count(worker)) for worker in range(self._workers))

    @property
    def is_ahead(self) -> bool:
        """Whether another worker has fewer sessions than this one."""
        counts = [self._count(worker) for worker in range(self._workers)]
        return any(0 <= count < counts[self.worker] for count in counts)

    def enter(self) -> None:
        """Note that this worker serves, without a session."""
        with self._locked():
            self._set(self.worker, 0)

    def acquire(self) -> bool:
        """Count one more session; return False if the server is full."""
        with self._locked():
            if self.open >= self.limit:
                return False
            self._set(self.worker, self._count(self.worker) + 1)
            return True

    def release(self) -> None:
        """Count one session less."""
        with self._locked():
            self._set(self.worker, self._count(self.worker) - 1)

    def clear(self, worker: int) -> None:
        """Forget the sessions of a worker that has died."""
        with self._locked():
            self._set(worker, _ABSENT)

    def full(self) -> str:
        """Return one sentence for a client that can't have a session."""
        return f"the server is full ({self.limit} sessions): try again later, or start it with a larger --max-sessions"

    def _count(self, worker: int) -> int:
        return int(struct.unpack_from("q", self._counts, worker * _WIDTH)[0])

    def _set(self, worker: int, count: int) -> None:
        struct.pack_into("q", self._counts, worker * _WIDTH, count)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        if self._file is None:
            yield
            return
        # By process, not by descriptor: the workers share one open file. A lock ends with its process.
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)


def shared_bytes(workers: int) -> bytes:
    """Return the initial content of the file that workers share."""
    return struct.pack(f"{workers}q", *[_ABSENT] * workers)
