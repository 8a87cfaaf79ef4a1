"""The JSON files of a run folder: written whole, read with errors that name the file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from empg_gym.errors import DataError
from empg_gym.runs.atomic_write import atomic_write

LARGEST = 256 << 20
"""Bytes of a file that is read."""


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object, whole or not at all, and wait until it is on the disk.

    Values that JSON lacks (paths, dates) are written as text.

    Raises:
        OSError: the file can't be written; the old content stays.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n"
    # The escape of a lone surrogate (a path that is not UTF-8) is JSON's own.
    atomic_write(path, text.encode(errors="backslashreplace"), sync=True)


def read_json(path: Path, *, hint: str) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: the file.
        hint: what to do if the file is missing or damaged; ends the error message.

    Raises:
        DataError: the file is missing, can't be read, or holds something other than a JSON object.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise DataError(f"{path} can't be read (larger than {LARGEST >> 20} MB): {hint}")
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path} is missing: {hint}") from None
    except OSError as error:
        raise DataError(f"{path} can't be read ({error.strerror}): {hint}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} can't be read (not JSON: {error}): {hint}") from None
    if not isinstance(value, dict):
        raise DataError(f"{path} can't be read (expected a JSON object, found {type(value).__name__}): {hint}")
    return value
