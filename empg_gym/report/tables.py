"""The tables of a run: `summary.json` and the configuration as they are, and evaluations before and after reinforcement.

Whatever an evaluator or a trainer writes into `summary.json` becomes tables.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from empg_gym.report.cells import label, number, short_env, text
from empg_gym.scoring.format import percent

OF_ALL = "success_errors_as_0"
"""Success of a training evaluation over all episodes; only where some failed."""


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


def comparison(summary: dict[str, Any]) -> Table | None:
    """Return success before and after training by split; None if the summary lacks these records."""
    before, after = ({record["split"]: record for record in _evaluations(summary.get(name))} for name in ("before", "after"))
    splits = [split for split in before if split in after]
    if not splits:
        return None
    of_all = any(number(record.get(OF_ALL)) is not None for split in splits for record in (before[split], after[split]))
    errors = ["Errors", "Errors as 0"] if of_all else ["Errors"]
    columns = ["Split", "Tasks", "Before, 95 % interval", *errors, "After, 95 % interval", *errors, "Change, points"]
    table = Table("Before and after reinforcement", columns)
    for split in splits:
        old, new = before[split], after[split]
        change = f"{100 * (new['success'] - old['success']):+.1f}".replace("-", "−")
        cells = [cell for record in (old, new) for cell in (_with_bounds(record), text(record.get("errors")), _of_all(record))]
        if not of_all:
            del cells[2::3]
        table.rows.append([split, text(new.get("tasks")), *cells, change])
    return table


def flatten(config: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return a configuration as dotted names and values, in its own order."""
    found: list[tuple[str, str]] = []
    for key, value in config.items():
        if isinstance(value, dict) and value:
            found.extend(flatten(value, f"{prefix}{key}."))
        else:
            found.append((prefix + key, text(value)))
    return found


def _evaluations(value: object) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        return []
    return [
        item for item in value if isinstance(item, dict) and isinstance(item.get("split"), str) and number(item.get("success")) is not None
    ]


def _with_bounds(record: dict[str, Any]) -> str:
    low, high = number(record.get("success_low")), number(record.get("success_high"))
    bounds = "" if low is None or high is None else f" ({percent(low)} to {percent(high)})"
    return percent(record["success"]) + bounds


def _of_all(record: dict[str, Any]) -> str:
    """Return success over all episodes, which is that over the scored ones where none failed."""
    over_all = number(record.get(OF_ALL))
    return percent(record["success"] if over_all is None else over_all)


def _is_records(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _alike(items: list[dict[str, Any]]) -> bool:
    shared = set.intersection(*(set(item) for item in items))
    return len(shared) * 2 >= max(len(item) for item in items)
