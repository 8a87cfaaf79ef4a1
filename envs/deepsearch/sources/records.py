"""Read the records of a question file: JSON lines, JSON, CSV, TSV or Parquet, plain or gzip.

Rules:
    - A record is a dictionary; `formats` interprets its members.
    - JSON files contain a list, or a dictionary with the list under "data" or "Data".
    - Errors name the file, and the line where there is one.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from empg_gym.errors import DataError, require

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
"""Suffixes of question files; `.gz` may follow all but the last."""
Record = dict[str, Any]


def kind_of(path: Path) -> str:
    """Return the suffix that determines the file type, or "" if it is not supported."""
    suffixes = path.suffixes[-2:] if path.suffix == ".gz" else path.suffixes[-1:]
    return suffixes[0] if suffixes and suffixes[0] in SUFFIXES else ""


def read_records(path: Path) -> Iterator[Record]:
    """Yield the records of a file.

    Raises:
        DataError: the file is missing, damaged, or of an unsupported type.
        MissingDependencyError: the file is in Parquet format and pyarrow is not installed.
    """
    if not path.is_file():
        raise DataError(f"the question file {path.name!r} that data points to does not exist; pass the path of an existing file or folder")
    kind = kind_of(path)
    if kind == ".parquet":
        yield from _parquet(path)
        return
    if not kind:
        raise DataError(f"{path.name}: the name of a question file must end in {', '.join(SUFFIXES)} (or one of the first four and .gz)")
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8", newline="")
            if path.suffix == ".gz"
            else path.open(encoding="utf-8", newline="") as handle
        ):
            if kind == ".jsonl":
                yield from _lines(path, handle)
            elif kind == ".json":
                yield from _json(path, handle.read())
            else:
                csv.field_size_limit(10_000_000)
                yield from csv.DictReader(handle, delimiter="\t" if kind == ".tsv" else ",")
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path.name} can't be read ({error}); download the file again") from error


def _lines(path: Path, handle: Any) -> Iterator[Record]:
    for number, line in enumerate(handle, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path.name}, line {number}: not JSON ({error})") from None
        yield _checked(record, f"{path.name}, line {number}")


def _json(path: Path, text: str) -> Iterator[Record]:
    try:
        content = json.loads(text)
    except ValueError as error:
        # Some sets ship JSON lines under the suffix .json.
        if "\n{" in text.strip():
            yield from _lines(path, io.StringIO(text))
            return
        raise DataError(f"{path.name}: not JSON ({error})") from None
    if isinstance(content, dict):
        content = content.get("data", content.get("Data", [content]))
    if not isinstance(content, list):
        raise DataError(f'{path.name}: expected a list of questions, or a dictionary with the list under "data"')
    for number, record in enumerate(content, start=1):
        yield _checked(record, f"{path.name}, record {number}")


def _checked(record: object, where: str) -> Record:
    if not isinstance(record, dict):
        raise DataError(f"{where}: expected a JSON object, got {type(record).__name__}")
    return record


def _parquet(path: Path) -> Iterator[Record]:
    parquet: Any = require("pyarrow.parquet", "parquet", "reading a Parquet file")
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=4096):
                yield from batch.to_pylist()
    except (OSError, ValueError) as error:
        raise DataError(f"{path.name} is damaged or not a Parquet file; download it again") from error
