"""`checkpoints/latest` and `checkpoints/best`: names of checkpoints beside them. Importing this imports no torch."""

from __future__ import annotations

import re
from pathlib import Path

from empg_gym.errors import DataError

LATEST, BEST = "latest", "best"
_NAME = re.compile(r"\.?[\w][\w.-]{0,127}\Z")
_LONGEST = 512


def named_by(pointer: Path) -> Path:
    """Return the folder that the file `pointer` names: always one beside the file, also where somebody else wrote it.

    Raises:
        DataError: the file can't be read, or holds something other than a name.
    """
    try:
        with pointer.open("rb") as file:
            name = file.read(_LONGEST).decode("utf-8", errors="replace").strip()
    except OSError as error:
        raise DataError(f"{pointer} can't be read ({error.strerror}); write the name of a checkpoint to it") from None
    if not _NAME.match(name) or ".." in name:
        raise DataError(f"{pointer} holds {name[:60]!r}, not the name of a checkpoint beside it; write one to it, such as rl-000010")
    return pointer.parent / name
