"""A store of JSON records in memory-mapped files, with direct access by ordinal and binary search by id.

Rules:
    - A record is one JSON object on one line, stored byte for byte.
    - Its id is the member `key`, a string or an integer. Ids are unique.
    - A store is immutable, and any number of processes share its pages.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from empg_gym.errors import DataError, OutputExistsError
from empg_gym.retrieval.damaged import damaged
from empg_gym.retrieval.folders import build_once
from empg_gym.retrieval.strings import StringTable, StringWriter, write_order


class DocumentStore:
    """An opened store, created by `build` or `open`. Thread-safe and cheap to pickle (unpickling opens it again).

    Args:
        folder: a folder written by `build`.

    Raises:
        DataError: the folder is not a store, or is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        try:
            self.fingerprint = str(json.loads((self.folder / "store.json").read_text())["fingerprint"])
            """Short hash of the records in their order."""
        except FileNotFoundError:
            raise DataError(f"{folder} is not a document store (no store.json); build one with DocumentStore.build") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise damaged(self.folder / "store.json", error, "remove the folder and build it again") from error
        self._records = StringTable(self.folder, "records")
        self._ids = StringTable(self.folder, "ids")

    @classmethod
    def build(cls, records: Iterable[bytes | str], folder: Path, *, key: str = "id") -> DocumentStore:
        """Write `records` into `folder` and open it.

        Args:
            records: JSON objects, one per line; blank lines are skipped.
            folder: must not exist. If another process creates it while this one waits for the lock, that store is opened.
            key: name of the member with the id.

        Raises:
            OutputExistsError: `folder` exists.
            DataError: a record is not a JSON object, lacks an id, or repeats an id; the message names its number.
        """
        folder = Path(folder)
        if folder.exists():
            raise OutputExistsError(f"{folder} exists; open it with DocumentStore.open, or remove it to build it again")
        build_once(folder, lambda target: _write(records, target, key))
        return cls(folder)

    @classmethod
    def open(cls, folder: Path) -> DocumentStore:
        """Open the store in `folder`; takes milliseconds at any size."""
        return cls(folder)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, ordinal: int) -> dict[str, Any]:
        record: dict[str, Any] = json.loads(self._records[ordinal])
        return record

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for raw in self._records:
            yield json.loads(raw)

    def __reduce__(self) -> tuple[Any, ...]:
        return DocumentStore, (self.folder,)

    def raw(self, ordinal: int) -> bytes:
        """Return the bytes of a record, without the line ending.

        Raises:
            IndexError: there is no such record.
        """
        return self._records[ordinal]

    def id(self, ordinal: int) -> str:
        """Return the id of a record.

        Raises:
            IndexError: there is no such record.
        """
        return self._ids[ordinal].decode("utf-8", "surrogatepass")

    def ordinal(self, name: str) -> int | None:
        """Return the ordinal of the record with this id, or None."""
        found = self._ids.find(name.encode("utf-8", "surrogatepass"))
        return None if found < 0 else found


def _write(records: Iterable[bytes | str], folder: Path, key: str) -> None:
    ids: list[bytes] = []
    digest = hashlib.sha256()
    writer, names = StringWriter(folder, "records"), StringWriter(folder, "ids")
    for number, record in enumerate(records):
        raw = (record.encode("utf-8", "surrogatepass") if isinstance(record, str) else record).strip()
        if not raw:
            continue
        name = _id_of(raw, key, number).encode("utf-8", "surrogatepass")
        digest.update(b"%d " % len(raw) + raw)
        writer.append(raw)
        names.append(name)
        ids.append(name)
    writer.close()
    names.close()
    write_order(folder, "ids", ids)
    meta = {"records": len(ids), "key": key, "fingerprint": digest.hexdigest()[:16]}
    (folder / "store.json").write_text(json.dumps(meta) + "\n")


def _id_of(raw: bytes, key: str, number: int) -> str:
    try:
        record = json.loads(raw)
    except ValueError as error:
        raise DataError(f"record {number} is not JSON ({error}): {raw[:80]!r}") from None
    name = record.get(key) if isinstance(record, dict) else None
    if isinstance(name, bool) or not isinstance(name, str | int):
        raise DataError(f"record {number} needs the member {key!r}, a string or an integer: {raw[:80]!r}")
    return str(name)
