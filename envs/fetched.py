"""Resolve `data="official"`: the data sets that `empg-gym data get` downloaded to this machine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def fetched(names: Iterable[str]) -> dict[str, Path]:
    """Return the folders of the named sets that are installed, in the order of the names.

    Raises:
        TaskError: a name is not the name of an official set.
        DataError: the record of installed sets is damaged.
    """
    # Imported lazily, so that an embedded world does not import an HTTP client.
    from empg_gym.data.registry import find_set
    from empg_gym.data.store import DataStore

    store = DataStore()
    found = {name: store.path(find_set(name)) for name in names}
    return {name: folder for name, folder in found.items() if folder is not None}
