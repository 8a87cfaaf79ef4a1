"""Reads lists of words and phrases from the package's text files.

A file has sections: a line "[name]", then the entries, separated by white space, or by another separator and line breaks.
Lines that start with "#" are comments.
"""

from __future__ import annotations

import re
from pathlib import Path


def read_lists(path: Path, separator: str | None = None) -> dict[str, tuple[str, ...]]:
    """Return the sections of a file.

    Args:
        path: the file, UTF-8.
        separator: separator of the entries in a line; None for white space.
    """
    sections: dict[str, list[str]] = {}
    entries: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        header = re.fullmatch(r"\[(.+)\]", line)
        if header:
            entries = sections.setdefault(header.group(1), [])
        elif not line.startswith("#"):
            entries += [entry.strip() for entry in line.split(separator) if entry.strip()]
    return {name: tuple(found) for name, found in sections.items()}
