"""A small file is written whole or not at all."""

from __future__ import annotations

import os
import threading
from pathlib import Path


def atomic_write(path: Path, content: str | bytes, *, sync: bool = False) -> None:
    """Replace a file so that readers see the old content or all of `content` (text as UTF-8), however many processes write to it.

    The unfinished file is `.NAME.PROCESS.THREAD` in the same folder; only a kill leaves it there.

    Args:
        path: the file.
        content: its new content.
        sync: wait until the content is on the disk, so that it survives a power failure.

    Raises:
        OSError: the file can't be written; the old content stays.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        unfinished.write_bytes(content.encode() if isinstance(content, str) else content)
        if sync:
            flush(unfinished)
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def flush(path: Path) -> None:
    """Wait until the content of a file is on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
