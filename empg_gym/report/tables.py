"""The tables of a run: `summary.json` and the configuration as they are.

Whatever an evaluator or a trainer writes into `summary.json` becomes tables.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from empg_gym.report.cells import label, short_env, text


@dataclass(slots=True)
class Table:
    """A table with a header row; its first column names the row."""

    title: str
    columns: list[str]
    rows: list[list[str]] = field(default_factory=list)

    @property
    def is_pairs(self) -> bool:
        """Whether the rows are names with one value each."""
        return self.columns == ["", "value"]


def tables(value: dict[str, Any], title: str = "Summary") -> list[Table]:
    """Return a nested mapping as tables: its plain entries as one, children of the same kind as one with a row per child."""
    found: list[Table] = []
    plain = {key: item for key, item in value.items() if not isinstance(item, dict) and not _is_records(item)}
    nested = {key: item for key, item in value.items() if isinstance(item, dict) and item}
    if plain:
        found.append(Table(title, ["", "value"], [[label(key), text(item, key)] for key, item in plain.items()]))
    flat = {key: item for key, item in nested.items() if not any(isinstance(part, dict) for part in item.values())}
    if len(flat) > 1 and len(flat) == len(nested) and _alike(list(flat.values())):
        columns = list(dict.fromkeys(name for item in flat.values() for name in item))
        rows = [[short_env(key), *(text(item.get(name), name) for name in columns)] for key, item in flat.items()]
        found.append(Table(title if not plain else f"{title}: parts", ["", *map(label, columns)], rows))
    else:
        for key, item in nested.items():
            found.extend(tables(item, label(short_env(key)) if title == "Summary" else f"{title}: {label(key)}"))
    for key, item in value.items():
        if _is_records(item):
            columns = list(dict.fromkeys(name for record in item for name in record))
            rows = [[text(record.get(name), name) for name in columns] for record in item]
            found.append(Table(label(key), list(map(label, columns)), rows))
    return found


def flatten(config: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return a configuration as dotted names and values, in its own order."""
    found: list[tuple[str, str]] = []
    for key, value in config.items():
        if isinstance(value, dict) and value:
            found.extend(flatten(value, f"{prefix}{key}."))
        else:
            found.append((prefix + key, text(value)))
    return found


def _is_records(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _alike(items: list[dict[str, Any]]) -> bool:
    shared = set.intersection(*(set(item) for item in items))
    return len(shared) * 2 >= max(len(item) for item in items)
