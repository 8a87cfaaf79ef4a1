"""A small file is written whole or not at all."""

from __future__ import annotations

import os
import threading
from pathlib import Path


def atomic_write(path: Path, content: str | bytes) -> None:
    """Replace a file so that readers see the old content or all of `content` (text as UTF-8), however many processes write to it.

    The unfinished file is `.NAME.PROCESS.THREAD` in the same folder; only a kill leaves it there.

    Raises:
        OSError: the file can't be written; the old content stays.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        unfinished.write_bytes(content.encode() if isinstance(content, str) else content)
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
