"""The cache folder: stores, indexes and generated worlds, each in a folder named after a hash of its inputs.

Everything in it can be deleted at any time: built files are rebuilt when needed, and `empg-gym data get` downloads data sets again.
"""

from __future__ import annotations

import os
from pathlib import Path


def cache_root() -> Path:
    """Return the cache folder: `EMPG_GYM_CACHE`, else `empg_gym` in the user's cache folder (`XDG_CACHE_HOME`, else `~/.cache`).

    The folder is not created here.
    """
    chosen = os.environ.get("EMPG_GYM_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "empg_gym"
