"""Tables of strings in memory-mapped files: the UTF-8 bytes of all entries and their offsets.

Rules:
    - `name.bytes` contains the concatenated entries, `name.ends.npy` the end offset of each (uint64).
    - A table that is searched by value is sorted by bytes, or has `name.order.npy`: entry numbers in sorted order. The order of UTF-8
      bytes equals the order of Python strings.
    - Equal entries are found in ascending order of their numbers.
"""

from __future__ import annotations

import mmap
import threading
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from empg_gym.errors import DataError
from empg_gym.retrieval.damaged import damaged

_LOADING = threading.Lock()
"""NumPy parses array headers with Python's parser, whose recursion depth is shared between threads in Python 3.11, so that concurrent loads
sometimes fail (SystemError, python/cpython#106905)."""


class StringWriter:
    """Writer of a table, entry by entry.

    Args:
        folder: folder of the files.
        name: stem of the file names.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        self._blob: BinaryIO = (folder / f"{name}.bytes").open("wb", buffering=1 << 20)
        self._ends: list[NDArray[np.uint64]] = []
        self._lengths: list[int] = []
        self._position = 0

    def append(self, entry: bytes) -> None:
        """Add one entry."""
        self._blob.write(entry)
        self._lengths.append(len(entry))
        if len(self._lengths) == 1 << 16:
            self._flush()

    def _flush(self) -> None:
        ends = np.cumsum(np.asarray(self._lengths, dtype=np.uint64), dtype=np.uint64) + np.uint64(self._position)
        if len(ends):
            self._position = int(ends[-1])
        self._ends.append(ends)
        self._lengths = []

    def close(self) -> None:
        """Finish the files; the table can be opened afterwards."""
        self._flush()
        self._blob.close()
        np.save(self._folder / f"{self._name}.ends.npy", np.concatenate(self._ends))


class StringTable:
    """A table written by `StringWriter`, memory-mapped and shared by all processes that open it.

    Raises:
        DataError: a file is missing or shorter than its offsets require.
    """

    def __init__(self, folder: Path, name: str, *, ordered: bool = False) -> None:
        self._ends = load_array(folder, f"{name}.ends")
        self._order = None if ordered or not (folder / f"{name}.order.npy").exists() else load_array(folder, f"{name}.order")
        self._ordered = ordered
        path = folder / f"{name}.bytes"
        size = int(self._ends[-1]) if len(self._ends) else 0
        if not path.exists() or path.stat().st_size != size:
            raise DataError(f"{path} is missing or damaged (expected {size} bytes); remove the folder {folder.name} and build it again")
        self._blob: mmap.mmap | bytes = b""
        if size:
            try:
                with path.open("rb") as handle:
                    self._blob = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
            except OSError as error:
                raise damaged(path, error, f"remove the folder {folder.name} and build it again") from error

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> bytes:
        if not 0 <= index < len(self._ends):
            raise IndexError(index)
        start = int(self._ends[index - 1]) if index else 0
        return self._blob[start : int(self._ends[index])]

    def __iter__(self) -> Iterator[bytes]:
        start = 0
        for end in self._ends:
            yield self._blob[start : int(end)]
            start = int(end)

    def find(self, entry: bytes) -> int:
        """Return the number of `entry` (the lowest of equal ones), or -1.

        Raises:
            DataError: the table was written without an order.
        """
        return next(self.find_all(entry), -1)

    def find_all(self, entry: bytes) -> Iterator[int]:
        """Yield the numbers of all entries equal to `entry`, ascending.

        Raises:
            DataError: the table was written without an order.
        """
        if not self._ordered and self._order is None:
            raise DataError("this table of strings can't be searched: it was written without an order; build it again")
        low, high = 0, len(self._ends)
        while low < high:
            middle = (low + high) // 2
            if self[self._place(middle)] < entry:
                low = middle + 1
            else:
                high = middle
        while low < len(self._ends) and self[place := self._place(low)] == entry:
            yield place
            low += 1

    def _place(self, rank: int) -> int:
        return rank if self._order is None else int(self._order[rank])


def write_strings(folder: Path, name: str, entries: Iterable[bytes]) -> None:
    """Write a whole table."""
    writer = StringWriter(folder, name)
    for entry in entries:
        writer.append(entry)
    writer.close()


def write_order(folder: Path, name: str, entries: list[bytes], *, distinct: bool = True) -> NDArray[np.int32]:
    """Write and return the numbers of `entries`, sorted by bytes; ties are sorted by number.

    Raises:
        DataError: two entries are equal and `distinct` is set.
    """
    order = sorted(range(len(entries)), key=entries.__getitem__)
    for first, second in pairwise(order):
        if distinct and entries[first] == entries[second]:
            shown = entries[first].decode("utf-8", "replace")
            raise DataError(f"records {first} and {second} have the same id {shown!r}; ids must be unique")
    ranked = np.asarray(order, dtype=np.int32)
    np.save(folder / f"{name}.order.npy", ranked)
    return ranked


def load_array(folder: Path, name: str) -> NDArray[np.generic]:
    """Memory-map the array `name.npy`, read-only.

    Raises:
        DataError: it is missing or damaged.
    """
    path = folder / f"{name}.npy"
    try:
        with _LOADING:
            return np.asarray(np.load(path, mmap_mode="r"))
    except FileNotFoundError:
        raise DataError(f"{path} is missing; remove the folder {folder.name} and build it again") from None
    except (OSError, ValueError) as error:
        raise damaged(path, error, f"remove the folder {folder.name} and build it again") from error
