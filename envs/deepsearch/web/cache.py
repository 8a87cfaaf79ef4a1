"""Records replies of live servers and replays them: one SQLite file in WAL mode.

Modes:
    off            reads and writes nothing
    record         sends every request to the network and records good replies
    replay         replays recorded requests; sends the others to the network and records them
    replay_only    replays recorded requests; the others fail, and the network is never used

Rules:
    - The key of a request is the SHA-256 of the provider and the canonical JSON of the request, without API keys and tokens.
    - The raw reply is stored with its time; it is cleaned and truncated when it is read, so that these rules can change.
    - Any number of threads and processes may share a file.
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
_LOCK_SECONDS = 30.0


class NotRecorded(Exception):
    """The request is not in the file, and the network must not be used."""


@dataclass(frozen=True)
class Recorder:
    """A record/replay cache; see the module docstring for the modes.

    Raises:
        ConfigError: an unknown mode, or a mode other than "off" without a file.
        DataError: the file can't be opened or is not a recording.
    """

    mode: str = "off"
    path: Path | None = None

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ConfigError(f"unknown mode {self.mode!r} of the record/replay cache; {nearest(self.mode, MODES)}")
        if self.mode == "off":
            return
        if self.path is None:
            raise ConfigError(f"mode {self.mode!r} needs a file to record to or replay from: set path")
        if self.mode == "replay_only" and not self.path.is_file():
            raise DataError(f"no recording at {self.path}; create one with mode 'record' or 'replay'")
        if self.mode == "replay_only":
            len(self)  # reports a file of another kind now, not during an episode
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._use_wal()
        with self._writing() as base:
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
        """Return the reply to `request`, from the file or from `send`, depending on the mode.

        Args:
            provider: name of the service.
            request: the request as JSON values, without secrets.
            send: sends the request; its exceptions propagate and are never recorded.

        Raises:
            NotRecorded: the mode is "replay_only" and the request is not in the file.
            DataError: the file can't be read or written.
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
        with self._writing() as base:
            base.execute(
                "INSERT OR REPLACE INTO answers (key, provider, request, answer, time) VALUES (?, ?, ?, ?, ?)",
                (key, provider, canonical, answer, time.time()),
            )
        return answer

    def _use_wal(self) -> None:
        """Switch the file to write-ahead logging, which stays with it; SQLite does not wait for this lock by itself."""
        deadline = time.monotonic() + _LOCK_SECONDS
        with self._connection() as base:
            while base.execute("PRAGMA journal_mode").fetchone() != ("wal",):
                try:
                    base.execute("PRAGMA journal_mode=WAL")
                except sqlite3.OperationalError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.01)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        assert self.path is not None
        try:
            with closing(sqlite3.connect(self.path, timeout=_LOCK_SECONDS, isolation_level=None)) as base:
                yield base
        except sqlite3.DatabaseError as error:
            raise DataError(f"the recording {self.path} can't be used ({error}); choose another file") from error

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Open a transaction that waits for the writers of other processes.

        Taking the write lock at once matters: SQLite does not wait, but fails, where a reader becomes a writer.
        """
        with self._connection() as base:
            base.execute("BEGIN IMMEDIATE")
            yield base
            base.execute("COMMIT")
