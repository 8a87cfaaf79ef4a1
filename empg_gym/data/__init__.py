"""Official data sets: downloaded by name, resumable and checksummed, from the publisher, a mirror or a local file.

No environment needs them: each has an embedded world. `data=PATH` makes an environment use a downloaded set.
"""

from __future__ import annotations

from pathlib import Path

from empg_gym.errors import DataError

__all__ = ["data_path"]


def data_path(name: str) -> Path:
    """Return the folder of an installed official set, for the argument `data` of an environment.

    Raises:
        TaskError: the set is unknown.
        DataError: the set is not installed.
    """
    from empg_gym.data.registry import find_set
    from empg_gym.data.store import DataStore

    data_set = find_set(name)
    folder = DataStore().path(data_set)
    if folder is None:
        raise DataError(f"{name} is not installed; run: empg-gym data get {name}")
    return folder
