"""The overview of a run: the numbers at the top, the tables of `summary.json`, and its configuration.

`summary.json` is shown as it is: whatever an evaluator or a trainer writes there becomes tables, headline numbers first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from empg_gym.report.breakdown import Group
from empg_gym.report.metrics import Line

_RATES = ("success_rate", "success", "valid_action", "clip_share", "pass_at", "pass@", "_share", "_rate", "rate")


@dataclass(frozen=True, slots=True)
class Tile:
    """One headline number."""

    label: str
    value: str
    note: str = ""


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


def tiles(summary: dict[str, Any], metrics: Sequence[Line], groups: Sequence[Group]) -> list[Tile]:
    """Return the headline numbers: from the summary's results, else from the metrics, else counted from the episodes."""
    results = summary.get("results")
    if isinstance(results, dict) and results and all(isinstance(entry, dict) for entry in results.values()):
        return [tile for env, entry in results.items() for tile in _of_result(env, entry, len(results) > 1)]
    learned = [*_of_metrics(metrics)]
    if learned:
        return learned
    whole = [group for group in groups if group.level == 0][:4]
    return [Tile(f"Success, {g.name}", percent(g.rate), f"{g.successes} of {g.judged}{_interval(g.interval)}") for g in whole]


def _of_result(env: str, entry: dict[str, Any], several: bool) -> Iterator[Tile]:
    success = Tile("Success", percent(_number(entry.get("success_rate"))), _bounds(entry.get("success_interval"), percent))
    score = Tile("Score", decimal(_number(entry.get("score_mean"))), _bounds(entry.get("score_interval"), decimal))
    errors = _counted(entry.get("errors", 0), "error")
    if several:
        rates = ["solved", success.note, f"score {score.value}"] if _number(entry.get("success_rate")) is not None else []
        notes = [*rates, f"{_counted(entry.get('episodes', 0), 'episode')}, {errors}"]
        yield Tile(short_env(env), success.value, "; ".join(filter(None, notes)))
        return
    yield success
    yield score
    yield Tile("Episodes", text(entry.get("episodes", 0)), errors)
    steps = entry.get("steps")
    if isinstance(steps, dict) and _number(steps.get("mean")) is not None:
        yield Tile("Steps", f"{steps['mean']:.1f}", "mean of an episode")


def comparison(summary: dict[str, Any]) -> Table | None:
    """Return success before and after training by split, None where the summary has no such records."""
    before, after = ({record["split"]: record for record in _records(summary.get(name))} for name in ("before", "after"))
    splits = [split for split in before if split in after]
    if not splits:
        return None
    table = Table("Before and after reinforcement", ["Split", "Tasks", "Before, 95 % interval", "After, 95 % interval", "Change, points"])
    for split in splits:
        old, new = before[split], after[split]
        change = f"{100 * (new['success'] - old['success']):+.1f}".replace("-", "−")
        table.rows.append([split, text(new.get("tasks")), _with_bounds(old), _with_bounds(new), change])
    return table


def _records(value: object) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        return []
    return [
        item for item in value if isinstance(item, dict) and isinstance(item.get("split"), str) and _number(item.get("success")) is not None
    ]


def _with_bounds(record: dict[str, Any]) -> str:
    low, high = _number(record.get("success_low")), _number(record.get("success_high"))
    bounds = "" if low is None or high is None else f" ({percent(low)} to {percent(high)})"
    return percent(record["success"]) + bounds


def _of_metrics(metrics: Sequence[Line]) -> Iterator[Tile]:
    keys = sorted({key for line in metrics for key in line.values if key.startswith("eval/") and key.endswith("/success")})
    for key in keys:
        values = [line.values[key] for line in metrics if key in line.values]
        split = key.removeprefix("eval/").removesuffix("/success")
        note = f"from {percent(values[0])} at the first evaluation" if len(values) > 1 else ""
        yield Tile(f"Success, {split}", percent(values[-1]), note)
    trained = [line.values["train/success"] for line in metrics if "train/success" in line.values]
    if trained:
        recent = trained[-10:]
        yield Tile("Success, training tasks", percent(sum(recent) / len(recent)), f"mean of the last {len(recent)} steps")
    if metrics:
        last = metrics[-1]
        note = " ".join(
            filter(None, [f"of {last.phase}" if last.phase else "", "" if last.seconds is None else f"after {duration(last.seconds)}"])
        )
        yield Tile("Steps", text(last.step), note)


def tables(value: dict[str, Any], title: str = "Summary") -> list[Table]:
    """Return a nested mapping as tables: its plain entries as one, children of the same kind as one with a row each."""
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


def _is_records(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _alike(items: list[dict[str, Any]]) -> bool:
    shared = set.intersection(*(set(item) for item in items))
    return len(shared) * 2 >= max(len(item) for item in items)


def flatten(config: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return a configuration as dotted names and values, in its own order."""
    found: list[tuple[str, str]] = []
    for key, value in config.items():
        if isinstance(value, dict) and value:
            found.extend(flatten(value, f"{prefix}{key}."))
        else:
            found.append((prefix + key, text(value)))
    return found


def label(name: str) -> str:
    """Return a key as words."""
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def text(value: Any, key: str = "") -> str:
    """Return a value for a table; rates and shares in percent."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        if isinstance(value, float) and not math.isfinite(value):
            return "–"
        if _is_rate(key) and 0 <= value <= 1:
            return percent(value)
        return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
    if isinstance(value, list):
        if len(value) == 2 and all(isinstance(item, (int, float)) for item in value):
            return f"{text(value[0], key)} to {text(value[1], key)}"
        return ", ".join(text(item) for item in value) or "–"
    return str(value) if not isinstance(value, dict) else "–"


def _is_rate(key: str) -> bool:
    return key.startswith(("success", "pass_at", "pass@")) or key.endswith(_RATES)


def percent(value: float | None) -> str:
    """Return a share with one decimal."""
    return "–" if value is None else f"{100 * value:.1f} %"


def duration(seconds: float) -> str:
    """Return seconds as a person says them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def decimal(value: float | None) -> str:
    """Return a number with three decimals."""
    return "–" if value is None else f"{value:.3f}"


def short_env(name: str) -> str:
    """Return an environment's id without its namespace and version."""
    return name.removeprefix("EMPG/").removesuffix("-v0")


def _counted(count: object, noun: str) -> str:
    return f"{text(count)} {noun}{'' if count == 1 else 's'}"


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) else None


def _bounds(value: object, shown: Callable[[float | None], str]) -> str:
    if not isinstance(value, list) or len(value) != 2:
        return ""
    return f"95 % interval {shown(_number(value[0]))} to {shown(_number(value[1]))}"


def _interval(bounds: tuple[float, float] | None) -> str:
    return "" if bounds is None else f", 95 % interval {percent(bounds[0])} to {percent(bounds[1])}"
