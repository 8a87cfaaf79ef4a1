"""Recording what live servers answered, and playing it back: one SQLite file in WAL mode.

Modes:
    off            nothing is read or written
    record         every request goes to the network; good answers are written
    replay         what is recorded is played back; the rest goes to the network and is written
    replay_only    what is recorded is played back; the rest fails, the network is never touched

Rules:
    - The key of a request is the SHA-256 of the provider and the canonical JSON of what was asked (never of a key or a token).
    - The raw answer is stored with its time; cleaning and cutting happen on reading, so that they can change.
    - Any number of threads and processes may use one file.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from empg_gym.errors import ConfigError, DataError, nearest

MODES = ("off", "record", "replay", "replay_only")
_VERSION = 1


class NotRecorded(Exception):
    """The request is not in the file and the network must not be used."""


@dataclass(frozen=True)
class Recorder:
    """A record/replay cache; see the module docstring.

    Raises:
        ConfigError: an unknown mode, or a mode other than "off" without a file.
        DataError: the file can't be opened or is something else.
    """

    mode: str = "off"
    path: Path | None = None

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ConfigError(f"the mode of a record/replay cache can't be {self.mode!r}; {nearest(self.mode, MODES)}")
        if self.mode == "off":
            return
        if self.path is None:
            raise ConfigError(f"mode {self.mode!r} needs a file to record to or replay from: give path")
        if self.mode == "replay_only" and not self.path.is_file():
            raise DataError(f"there is no recording {self.path}; record one with mode 'record' or 'replay'")
        if self.mode == "replay_only":
            len(self)  # tells a file of another kind now, not in the middle of an episode
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._connection() as base:
            base.execute("PRAGMA journal_mode=WAL")
            base.execute(
                "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, provider TEXT NOT NULL, request TEXT NOT NULL,"
                " answer BLOB NOT NULL, time REAL NOT NULL) WITHOUT ROWID"
            )

    def __len__(self) -> int:
        if self.path is None:
            return 0
        with self._connection() as base:
            return int(base.execute("SELECT count(*) FROM answers").fetchone()[0])

    def fetch(self, provider: str, request: dict[str, Any], send: Callable[[], bytes]) -> bytes:
        """Return the answer to `request`, from the file or by `send`, as the mode says.

        Args:
            provider: whose answer it is.
            request: what is asked, JSON values, without secrets.
            send: asks the network; what it raises is passed on and never recorded.

        Raises:
            NotRecorded: mode "replay_only" and the request is not in the file.
        """
        if self.mode == "off":
            return send()
        canonical = json.dumps({"version": _VERSION, **request}, sort_keys=True, separators=(",", ":"))
        key = hashlib.sha256(f"{provider}\n{canonical}".encode()).hexdigest()
        if self.mode != "record":
            with self._connection() as base:
                row = base.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()
            if row is not None:
                return bytes(row[0])
            if self.mode == "replay_only":
                raise NotRecorded("this request was not recorded")
        answer = send()
        with self._connection() as base:
            base.execute(
                "INSERT OR REPLACE INTO answers (key, provider, request, answer, time) VALUES (?, ?, ?, ?, ?)",
                (key, provider, canonical, answer, time.time()),
            )
        return answer

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        assert self.path is not None
        try:
            with closing(sqlite3.connect(self.path, timeout=30)) as base, base:
                yield base
        except sqlite3.DatabaseError as error:
            raise DataError(f"the recording {self.path} can't be used ({error}); give another file") from error
