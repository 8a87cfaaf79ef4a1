"""What `data="official"` stands for: the sets that `empg-gym data get` brought to this machine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def fetched(names: Iterable[str]) -> dict[str, Path]:
    """Return the folders of those of the named sets that are here, in the order of the names.

    Raises:
        TaskError: there is no official set of one of the names.
        DataError: the record of what was fetched is damaged.
    """
    # Here, so that an embedded world does not import an HTTP client.
    from empg_gym.data.registry import find_set
    from empg_gym.data.store import DataStore

    store = DataStore()
    found = {name: store.path(find_set(name)) for name in names}
    return {name: folder for name, folder in found.items() if folder is not None}
