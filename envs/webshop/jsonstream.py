"""Reads a JSON file of any size one entry at a time.

The official catalogue is one array of several gigabytes; parsing it at once takes ten times its size in memory.
An entry that can't be parsed raises an error that names the file and the entry.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from empg_gym.errors import DataError

CHUNK = 4 << 20
"""Characters read at a time."""
LONGEST = 64 << 20
"""Maximum length of an entry, in characters; a longer one is considered damaged."""
_SPACE = " \t\n\r"


class _Scanner:
    """A window on the file that starts at the next token."""

    def __init__(self, file: TextIO, name: str) -> None:
        self._file = file
        self._name = name
        self._decoder = json.JSONDecoder()
        self._buffer = ""
        self._position = 0
        self._eof = False
        self.entry = 0

    def _fill(self) -> None:
        try:
            more = self._file.read(CHUNK)
        except UnicodeDecodeError as error:
            raise self.damaged(f"it is not UTF-8 ({error.reason})") from None
        self._eof = not more
        self._buffer = self._buffer[self._position :] + more
        self._position = 0

    def damaged(self, why: str) -> DataError:
        return DataError(f"{self._name} is damaged at record {self.entry}: {why}; download the file again")

    def peek(self) -> str:
        """Return the next character after white space, or "" at the end."""
        while True:
            while self._position < len(self._buffer):
                if self._buffer[self._position] not in _SPACE:
                    return self._buffer[self._position]
                self._position += 1
            if self._eof:
                return ""
            self._fill()

    def skip(self, expected: str) -> None:
        found = self.peek()
        if found != expected:
            raise self.damaged(f"expected {expected!r}, found {found or 'the end of the file'!r}")
        self._position += 1

    def value(self) -> Any:
        while True:
            self.peek()
            try:
                value, end = self._decoder.raw_decode(self._buffer, self._position)
            except json.JSONDecodeError as error:
                if self._eof or len(self._buffer) - self._position > LONGEST:
                    raise self.damaged(error.msg) from None
                self._fill()
                continue
            if not self._eof and (end == len(self._buffer) or self._buffer[end] in ".eE+-"):
                self._fill()  # a number at the end of the window may continue
                continue
            self._position = end
            return value


def _entries(scanner: _Scanner, close: str) -> Iterator[None]:
    if scanner.peek() == close:
        scanner.skip(close)
        return
    while True:
        yield
        scanner.entry += 1
        if scanner.peek() == close:
            scanner.skip(close)
            return
        scanner.skip(",")


def read_array(path: Path) -> Iterator[Any]:
    """Yield the entries of a JSON array.

    Raises:
        DataError: the file is not an array, or is damaged; the message names the record, counted from 0.
    """
    with path.open(encoding="utf-8") as file:
        scanner = _Scanner(file, path.name)
        scanner.skip("[")
        for _ in _entries(scanner, "]"):
            yield scanner.value()


def read_object(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the (key, value) pairs of a JSON object.

    Raises:
        DataError: the file is not an object, or is damaged; the message names the record, counted from 0.
    """
    with path.open(encoding="utf-8") as file:
        scanner = _Scanner(file, path.name)
        scanner.skip("{")
        for _ in _entries(scanner, "}"):
            key = scanner.value()
            if not isinstance(key, str):
                raise scanner.damaged(f"expected a name, found {key!r:.40}")
            scanner.skip(":")
            yield key, scanner.value()
