"""The headline numbers of a run: from its summary's results, else from its metrics, else counted from its episodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from empg_gym.report.breakdown import Group
from empg_gym.report.cells import number, short_env, text
from empg_gym.report.metrics import Line
from empg_gym.scoring.format import counted, decimal, duration, percent

_GROUPS = 4
"""Most groups that are shown."""
_RECENT = 10
"""Steps that the success on training tasks is averaged over."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One headline number."""

    label: str
    value: str
    note: str = ""


def tiles(summary: dict[str, Any], metrics: Sequence[Line], groups: Sequence[Group]) -> list[Tile]:
    """Return the headline numbers."""
    results = summary.get("results")
    if isinstance(results, dict) and results and all(isinstance(entry, dict) for entry in results.values()):
        return [tile for env, entry in results.items() for tile in _of_result(env, entry, len(results) > 1)]
    return [*_of_metrics(metrics)] or [_of_group(group) for group in [group for group in groups if group.level == 0][:_GROUPS]]


def _of_result(env: str, entry: dict[str, Any], several: bool) -> Iterator[Tile]:
    success = Tile("Success", percent(number(entry.get("success_rate"))), _with_errors(entry, "success", "rate", percent))
    score = Tile("Score", decimal(number(entry.get("score_mean"))), _with_errors(entry, "score", "mean", decimal))
    errors = _counted(entry.get("errors", 0), "error")
    if several:
        rates = ["solved", success.note, f"score {score.value}"] if number(entry.get("success_rate")) is not None else []
        notes = [*rates, f"{_counted(entry.get('episodes', 0), 'episode')}, {errors}"]
        yield Tile(short_env(env), success.value, "; ".join(filter(None, notes)))
        return
    yield success
    yield score
    yield Tile("Episodes", text(entry.get("episodes", 0)), errors)
    steps = entry.get("steps")
    if isinstance(steps, dict) and number(steps.get("mean")) is not None:
        yield Tile("Steps", f"{steps['mean']:.1f}", "mean of an episode")


def _of_metrics(metrics: Sequence[Line]) -> Iterator[Tile]:
    keys = sorted({key for line in metrics for key in line.values if key.startswith("eval/") and key.endswith("/success")})
    for key in keys:
        lines = [line.values for line in metrics if key in line.values]
        split = key.removeprefix("eval/").removesuffix("/success")
        errors, over_all = int(lines[-1].get(f"eval/{split}/errors", 0)), lines[-1].get(f"{key}_errors_as_0")
        notes = [
            f"from {percent(lines[0][key])} at the first evaluation" if len(lines) > 1 else "",
            counted(errors, "error") if errors else "",
            f"{percent(over_all)} over all episodes, errors as 0" if over_all is not None else "",
        ]
        yield Tile(f"Success, {split}", percent(lines[-1][key]), "; ".join(filter(None, notes)))
    trained = [line.values["train/success"] for line in metrics if "train/success" in line.values]
    if trained:
        recent = trained[-_RECENT:]
        yield Tile("Success, training tasks", percent(sum(recent) / len(recent)), f"mean of the last {len(recent)} steps")
    if metrics:
        last = metrics[-1]
        notes = [f"of {last.phase}" if last.phase else "", "" if last.seconds is None else f"after {duration(last.seconds)}"]
        yield Tile("Steps", text(last.step), " ".join(filter(None, notes)))


def _of_group(group: Group) -> Tile:
    headline = group.headline
    label, note = f"Success, {group.name}", f"{headline.successes} of {headline.scored}"
    if headline.errors and headline.success_of_all is not None:
        note += f" without an error; {percent(headline.success_of_all.mean)} with {_counted(headline.errors, 'error')} as 0"
    if headline.success is None:
        return Tile(label, percent(None), note)
    return Tile(label, percent(headline.success.mean), f"{note}, {_bounds([*(headline.success.interval or ())], percent)}")


def _with_errors(entry: dict[str, Any], name: str, kind: str, shown: Callable[[float | None], str]) -> str:
    """Return the interval of a number, and where episodes failed the number over all of them."""
    bounds = _bounds(entry.get(f"{name}_interval"), shown)
    of_all = number(entry.get(f"{name}_{kind}_errors_as_0"))
    return bounds if of_all is None else "; ".join(filter(None, (bounds, f"{shown(of_all)} over all episodes, errors as 0")))


def _counted(count: object, noun: str) -> str:
    return f"{text(count)} {noun}{'' if count == 1 else 's'}"


def _bounds(value: object, shown: Callable[[float | None], str]) -> str:
    if not isinstance(value, list) or len(value) != 2:
        return ""
    return f"95 % interval {shown(number(value[0]))} to {shown(number(value[1]))}"
