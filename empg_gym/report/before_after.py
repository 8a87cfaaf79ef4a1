"""Success before and after reinforcement on all held-out tasks: each split, and its task types.

Rules:
    - The numbers are those of `summary.json`, which are over every task of the evaluation, not over the recorded samples.
    - A change is paired by task; its interval needs the outcomes of both evaluations (`outcomes.jsonl`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from empg_gym.report.cells import number, text
from empg_gym.report.outcomes import SplitOutcomes, TaskOutcome
from empg_gym.scoring.format import MISSING, percent
from empg_gym.scoring.intervals import difference_interval, mean, wilson

_OF_ALL = "success_errors_as_0"
"""Success over all episodes; only where some failed."""


@dataclass(frozen=True, slots=True)
class Change:
    """A row of the table."""

    name: str
    level: int
    """0 a split, 1 a task type of the split above it."""
    tasks: str
    before: str
    before_errors: str
    before_of_all: str
    """Over all episodes, errors as 0; "" where none of the table failed."""
    after: str
    after_errors: str
    after_of_all: str
    change: str
    """In percentage points."""


def changes(summary: Mapping[str, Any], outcomes: Sequence[SplitOutcomes]) -> list[Change]:
    """Return success before and after training by split and task type; empty if the summary lacks these records."""
    before, after = ({record["split"]: record for record in _evaluations(summary.get(name))} for name in ("before", "after"))
    entries: list[tuple[str, int, dict[str, Any], dict[str, Any], str]] = []
    for split, old in before.items():
        if split not in after:
            continue
        new = after[split]
        pair = _pair(outcomes, split)
        entries.append((split, 0, old, new, _difference(pair, None)))
        types = [kind for kind in _types(old) if kind in _types(new)]
        if len(types) > 1:
            entries += [(kind, 1, _types(old)[kind], _types(new)[kind], _difference(pair, kind)) for kind in sorted(types)]
    failed = any(number(record.get(_OF_ALL)) is not None for entry in entries for record in entry[2:4])
    return [_row(*entry, failed) for entry in entries]


def _row(name: str, level: int, old: Mapping[str, Any], new: Mapping[str, Any], paired: str, failed: bool) -> Change:
    first, last = number(old.get("success")), number(new.get("success"))
    return Change(
        name=name,
        level=level,
        tasks=text(new.get("tasks")),
        before=_rate(old),
        before_errors=text(old.get("errors")),
        before_of_all=_of_all(old) if failed else "",
        after=_rate(new),
        after_errors=text(new.get("errors")),
        after_of_all=_of_all(new) if failed else "",
        change=paired or (MISSING if first is None or last is None else points(last - first)),
    )


def _of_all(record: Mapping[str, Any]) -> str:
    """Return success over all episodes, which is that over the scored ones where none failed."""
    over_all = number(record.get(_OF_ALL))
    return percent(number(record.get("success")) if over_all is None else over_all)


def points(share: float) -> str:
    """Return a difference of shares in percentage points: "+3.1", "−0.4"."""
    return f"{100 * share:+.1f}".replace("-", "−")


def _rate(record: Mapping[str, Any]) -> str:
    share = number(record.get("success"))
    low, high = number(record.get("success_low")), number(record.get("success_high"))
    tasks = number(record.get("tasks"))
    if share is None:
        return MISSING
    if (low is None or high is None) and tasks is not None and 0 <= share <= 1:
        low, high = wilson(share, tasks - (number(record.get("errors")) or 0))
    return percent(share) if low is None or high is None else f"{percent(share)} ({percent(low)} to {percent(high)})"


def _pair(outcomes: Sequence[SplitOutcomes], split: str) -> tuple[dict[str, TaskOutcome], dict[str, TaskOutcome]] | None:
    """Return the outcomes of the first and the last evaluation of a split."""
    evaluations = sorted((one for one in outcomes if one.split == split), key=lambda one: one.step)
    if len(evaluations) < 2 or evaluations[0].step != 0:
        return None
    return evaluations[0].tasks, evaluations[-1].tasks


def _difference(pair: tuple[dict[str, TaskOutcome], dict[str, TaskOutcome]] | None, kind: str | None) -> str:
    if pair is None:
        return ""
    old, new = pair
    differences = [new[task].success - one.success for task, one in old.items() if task in new and (kind is None or one.task_type == kind)]
    if not differences:
        return ""
    low, high = difference_interval(differences)
    return f"{points(mean([differences]))} ({points(low)} to {points(high)})"


def _types(record: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    found = record.get("by_type")
    return {str(kind): one for kind, one in found.items() if isinstance(one, dict)} if isinstance(found, dict) else {}


def _evaluations(value: object) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        return []
    return [
        item for item in value if isinstance(item, dict) and isinstance(item.get("split"), str) and number(item.get("success")) is not None
    ]
