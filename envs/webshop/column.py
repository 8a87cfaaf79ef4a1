"""A column of numbers in a file, read one at a time through the system's page cache.

A memory-mapped column would cost each process the pages around every number that it reads (2 MB each if the system caches files in large
pages), and goals are read at random, one per episode.
"""

from __future__ import annotations

import os
import weakref
from pathlib import Path
from struct import Struct

from empg_gym.retrieval.damaged import damaged
from empg_gym.retrieval.strings import load_array


class Column:
    """The numbers of `name.npy`, without mapping them. Safe to use from several threads and after a fork; cheap to pickle, as the file
    is opened again.

    Args:
        folder: folder of the file.
        name: file name without its suffix.

    Raises:
        DataError: the file is missing or damaged.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._source = (folder, name)
        array = load_array(folder, name)
        self._number = Struct(array.dtype.char)
        self._size = len(array)
        path = folder / f"{name}.npy"
        try:
            self._file = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise damaged(path, error, f"remove the folder {folder.name} and build it again") from error
        weakref.finalize(self, os.close, self._file)
        self._offset = os.fstat(self._file).st_size - array.nbytes

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> float:
        """Return a number.

        Raises:
            IndexError: the index is out of range.
        """
        if not 0 <= index < self._size:
            raise IndexError(index)
        number: float = self._number.unpack(os.pread(self._file, self._number.size, self._offset + index * self._number.size))[0]
        return number

    def __reduce__(self) -> tuple[type[Column], tuple[Path, str]]:
        return Column, self._source
