"""Means over the scored episodes of a set, each with its 95 % interval; on request over all finished ones, with errors as 0.

Rules:
    - Every mean is over episodes; its interval treats the task as the unit (`empg_gym.scoring.intervals`).
    - An estimate of no scored episode is None.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from empg_gym.scoring.intervals import Interval, mean, mean_interval, pass_at_k, share_interval
from empg_gym.scoring.record import EpisodeRecord

Value = Callable[[EpisodeRecord], float]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean and its 95 % interval."""

    mean: float
    interval: Interval | None
    """None where a single task leaves an unbounded mean unknown."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {"mean": self.mean, "interval": None if self.interval is None else list(self.interval)}


def values_by_task(records: Iterable[EpisodeRecord], value: Value, *, errors_as_0: bool = False) -> dict[str, list[float]]:
    """Return task to the values of its scored episodes, and 0 for its errors where they count; tasks without a value are left out."""
    tasks: dict[str, list[float]] = defaultdict(list)
    for record in records:
        if record.is_scored:
            tasks[record.task].append(value(record))
        elif errors_as_0 and record.is_error:
            tasks[record.task].append(0.0)
    return dict(tasks)


def estimate_success(records: Iterable[EpisodeRecord], *, errors_as_0: bool = False) -> Estimate | None:
    """Return the share of successes."""
    tasks = list(values_by_task(records, lambda record: float(record.success), errors_as_0=errors_as_0).values())
    return Estimate(mean(tasks), share_interval([[value == 1.0 for value in task] for task in tasks])) if tasks else None


def estimate_score(records: Iterable[EpisodeRecord], *, errors_as_0: bool = False) -> Estimate | None:
    """Return the mean score, which is within 0..1."""
    tasks = list(values_by_task(records, lambda record: record.score, errors_as_0=errors_as_0).values())
    return Estimate(mean(tasks), mean_interval(tasks, unit=True)) if tasks else None


def estimate_mean(records: Iterable[EpisodeRecord], value: Value) -> Estimate | None:
    """Return the mean of an unbounded value, such as the number of steps."""
    tasks = list(values_by_task(records, value).values())
    return Estimate(mean(tasks), mean_interval(tasks)) if tasks else None


def estimate_pass_at(records: Iterable[EpisodeRecord], k: int) -> float | None:
    """Return pass@k, averaged over the tasks that have at least `k` scored episodes; None without such a task."""
    return _pass_at(list(values_by_task(records, lambda record: float(record.success)).values()), k)


def estimate_every_pass_at(records: Iterable[EpisodeRecord]) -> dict[int, float]:
    """Return k to pass@k, for k from 1 to the most scored episodes of a task."""
    tasks = list(values_by_task(records, lambda record: float(record.success)).values())
    most = max((len(task) for task in tasks), default=0)
    return {k: estimate for k in range(1, most + 1) if (estimate := _pass_at(tasks, k)) is not None}


def _pass_at(tasks: Sequence[Sequence[float]], k: int) -> float | None:
    enough = [task for task in tasks if len(task) >= k]
    return sum(pass_at_k(len(task), int(sum(task)), k) for task in enough) / len(enough) if enough else None
