"""A small file is written whole or not at all."""

from __future__ import annotations

import os
import threading
from pathlib import Path


def atomic_write(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader finds what was there before or all of `content` (text in UTF-8), whoever else writes it too.

    What is unfinished lies beside it as `.NAME.PROCESS.THREAD`; only a kill leaves it there.

    Raises:
        OSError: it can't be written; what was there stays.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        unfinished.write_bytes(content.encode() if isinstance(content, str) else content)
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
