"""A small file is written whole or not at all."""

from __future__ import annotations

import contextlib
import glob
import os
import threading
from pathlib import Path


def atomic_write(path: Path, content: str | bytes, *, sync: bool = False) -> None:
    """Replace a file so that readers see the old content or all of `content` (text as UTF-8), however many processes write to it.

    The unfinished file is `.NAME.PROCESS.THREAD` in the same folder; only a kill leaves it there (`remove_unfinished`).

    Args:
        path: the file.
        content: its new content.
        sync: wait until the content and the name are on the disk, so that they survive a power failure.

    Raises:
        OSError: the file can't be written; the old content stays.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        unfinished.write_bytes(content.encode() if isinstance(content, str) else content)
        if sync:
            flush(unfinished)
        unfinished.replace(path)
        if sync:
            flush_folder(path.parent)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def remove_unfinished(path: Path) -> None:
    """Remove what killed writers of a file left; for the only process that writes it."""
    for unfinished in path.parent.glob(f".{glob.escape(path.name)}.*.*"):
        if all(part.isdecimal() for part in unfinished.name.removeprefix(f".{path.name}.").split(".")):
            unfinished.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Wait until the content of a file is on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk: a renamed file can otherwise have its old name after a power failure."""
    with contextlib.suppress(OSError):  # some file systems can't
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
