"""Names of an environment's data in results: the embedded world is not a benchmark and must not be mistaken for one."""

from __future__ import annotations

from pathlib import Path

EMBEDDED = "embedded world"


def data_name(data: object) -> str:
    """Return the name of an environment's argument `data` in results: `EMBEDDED` for None, else the last part of the path."""
    return EMBEDDED if data is None else Path(str(data)).name or str(data)


def with_data(name: str, data: object) -> str:
    """Return an environment's name and, if known, the name of its data: "ALFWorld (embedded world)"."""
    return f"{name} ({data})" if data else name
