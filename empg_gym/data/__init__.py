"""Official data sets: fetched by name, resumable, checksummed, from mirrors or from a file.

No environment needs them: each has a world of its own. `data=PATH` gives an environment what was fetched here.
"""

from __future__ import annotations

from pathlib import Path

from empg_gym.errors import DataError

__all__ = ["data_path"]


def data_path(name: str) -> Path:
    """Return the folder of an official set that is on this machine, as `data=` takes it.

    Raises:
        TaskError: no set of that name.
        DataError: it has not been fetched.
    """
    from empg_gym.data.registry import find_set
    from empg_gym.data.store import DataStore

    data_set = find_set(name)
    folder = DataStore().path(data_set)
    if folder is None:
        raise DataError(f"{name} is not here; run: empg-gym data get {name}")
    return folder
