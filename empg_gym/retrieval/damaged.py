"""The error of a file that can't be opened or read: it advises to build the file again only where the file itself is at fault."""

from __future__ import annotations

import errno
from pathlib import Path

from empg_gym.errors import DataError

_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)
_NOT_THE_FILE = (errno.EACCES, errno.EPERM, errno.EIO, errno.ENOMEM, errno.ESTALE)


def damaged(path: Path, error: Exception, advice: str, *, what: str = "damaged") -> DataError:
    """Return the error of the file `path`.

    Args:
        path: the file.
        error: what was raised when it was opened or read.
        advice: what to do if the file is damaged.
        what: what a damaged file is.
    """
    cause = error if isinstance(error, OSError) else _reopened(path)
    if cause is not None and cause.errno in _NO_DESCRIPTORS:
        return DataError(
            f"{path} can't be opened: this process has too many open files; raise the limit (ulimit -n), or use fewer environments at once"
        )
    if cause is not None and cause.errno in _NOT_THE_FILE:
        return DataError(f"{path} can't be read ({cause.strerror}); the file itself may be intact")
    return DataError(f"{path} is {what} ({error}); {advice}")


def _reopened(path: Path) -> OSError | None:
    """Return the error of opening the file, which a library such as SQLite does not report."""
    try:
        path.open("rb").close()
    except OSError as error:
        return error
    return None
