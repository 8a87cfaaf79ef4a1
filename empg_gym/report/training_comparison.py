"""Compare training runs: held-out success at the end, and the areas under the curves, with paired differences.

Rules:
    - The configuration of the first run is the reference; each other is compared with it.
    - Runs of two configurations with the same seed are a pair. With two or more pairs the unit of a difference's interval is the seed.
      With one pair it is the task: success of a task after training, or the area under its outcomes, against that of the same task.
    - Two configurations of one run each are a pair whatever their seeds.
    - An area is the mean height of a curve over its steps (`empg_gym.scoring.curves`). Areas of held-out curves are over the tasks that
      every evaluation of both runs has.
    - Intervals are 95 %, from `empg_gym.scoring.intervals`. One pair of curves that belongs to no tasks has no interval.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from empg_gym.errors import ConfigError
from empg_gym.report.cells import number
from empg_gym.report.configurations import Configuration, configurations
from empg_gym.report.run_reader import RunReader
from empg_gym.runs.folder import distinct_names
from empg_gym.scoring.curves import area_under_curve
from empg_gym.scoring.format import counted, with_interval
from empg_gym.scoring.intervals import Interval, difference_interval, mean, mean_interval, wilson

_TRAINING = "train/success"
TaskValues = Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingCell:
    """One number of one configuration, and its difference from the reference. All are shares of solved tasks."""

    metric: str
    configuration: str
    seeds: tuple[int, ...]
    """Seeds of the runs that have the number."""
    value: float | None
    """Mean over the runs."""
    interval: Interval | None
    """Over the seeds; of a single run over its tasks."""
    difference: float | None = None
    """Mean over the pairs; None for the reference itself."""
    difference_interval: Interval | None = None
    pairs: int = 0
    unit: str = ""
    """What a pair is: "seed" or "task"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingComparison:
    """The numbers of several training runs, side by side."""

    cells: tuple[TrainingCell, ...]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    def rows(self) -> list[list[str]]:
        """Return the cells as text, each number in percent."""
        return [
            [
                cell.metric,
                cell.configuration,
                str(len(cell.seeds)),
                with_interval(cell.value, cell.interval),
                "" if cell.difference is None else with_interval(cell.difference, cell.difference_interval),
                counted(cell.pairs, cell.unit) if cell.pairs else "",
            ]
            for cell in self.cells
        ]

    def table(self) -> Table:
        """Return the comparison for a console."""
        table = Table(*COLUMNS, box=None, pad_edge=False)
        before = ""
        for row in self.rows():
            table.add_row(escape(row[0]) if row[0] != before else "", *map(escape, row[1:]))
            before = row[0]
        return table


COLUMNS = ("success %", "configuration", "seeds", "value [95 %]", "difference [95 %]", "pairs")


def compare_training(folders: Sequence[Path]) -> TrainingComparison:
    """Compare the training runs in `folders`; the configuration of the first is the reference.

    Raises:
        ConfigError: fewer than two folders, a folder named twice, or two runs of one configuration and seed.
        DataError: a folder is not a run, or a file in it is damaged.
    """
    runs = [RunReader(folder, name=name) for folder, name in zip(folders, distinct_names(folders), strict=True)]
    if len(runs) < 2:
        raise ConfigError("compare expects at least two run folders; the others are compared with the first")
    for run in runs:
        run.read_numbers()
    return compare_configurations(configurations(runs))


def compare_configurations(found: Sequence[Configuration]) -> TrainingComparison:
    """Compare configurations whose runs have been read; the first is the reference."""
    splits = list(dict.fromkeys(one.split for each in found for run in each.runs.values() for one in run.outcomes))
    splits = splits or list(dict.fromkeys(_final_splits(found)))
    cells: list[TrainingCell] = []
    for split in splits:
        cells += _cells(f"after training, {split}", found, partial(_final, split=split), partial(_final_tasks, split=split))
        cells += _cells(f"area under the curve, {split}", found, partial(_held_out_area, split=split), partial(_task_areas, split=split))
    cells += _cells("area under the curve, training tasks", found, partial(_area, key=_TRAINING), lambda run: {})
    return TrainingComparison(cells=tuple(cells), warnings=tuple(_warnings(found)))


def _cells(
    metric: str,
    found: Sequence[Configuration],
    value: Callable[[RunReader], float | None],
    tasks: Callable[[RunReader], TaskValues],
) -> list[TrainingCell]:
    cells = []
    for each in found:
        values = {seed: one for seed, run in each.runs.items() if (one := value(run)) is not None}
        if not values:
            continue
        if len(values) > 1:
            interval = mean_interval([[one] for one in values.values()], unit=True)
        else:
            scored = tasks(each.runs[next(iter(values))])
            interval = _interval_of_tasks(list(scored.values())) if scored else None
        cell = TrainingCell(
            metric=metric, configuration=each.label, seeds=tuple(values), value=mean([list(values.values())]), interval=interval
        )
        cells.append(cell if each is found[0] else _with_difference(cell, _pairs(each, found[0]), value, tasks))
    return cells


def _interval_of_tasks(values: Sequence[float]) -> Interval | None:
    if all(value in (0.0, 1.0) for value in values):
        return wilson(mean([values]), len(values))
    return mean_interval([[value] for value in values], unit=True)


def _pairs(ours: Configuration, reference: Configuration) -> list[tuple[RunReader, RunReader]]:
    if len(ours.runs) == len(reference.runs) == 1:
        return [(next(iter(ours.runs.values())), next(iter(reference.runs.values())))]
    return [(run, reference.runs[seed]) for seed, run in ours.runs.items() if seed in reference.runs]


def _with_difference(
    cell: TrainingCell,
    pairs: Sequence[tuple[RunReader, RunReader]],
    value: Callable[[RunReader], float | None],
    tasks: Callable[[RunReader], TaskValues],
) -> TrainingCell:
    by_seed: list[float] = []
    by_task: list[float] = []
    for run, other in pairs:
        mine, theirs = tasks(run), tasks(other)
        by_task = [one - theirs[task] for task, one in mine.items() if task in theirs]
        first, second = value(run), value(other)
        if by_task:
            by_seed.append(mean([by_task]))
        elif first is not None and second is not None:
            by_seed.append(first - second)
    if not by_seed:
        return cell
    facts = asdict(cell) | {"interval": cell.interval, "difference": mean([by_seed]), "pairs": len(by_seed), "unit": "seed"}
    if len(by_seed) > 1:
        return TrainingCell(**facts | {"difference_interval": mean_interval([[one] for one in by_seed])})
    if by_task:
        return TrainingCell(**facts | {"difference_interval": difference_interval(by_task), "pairs": len(by_task), "unit": "task"})
    return TrainingCell(**facts)


def _final(run: RunReader, split: str) -> float | None:
    tasks = _final_tasks(run, split)
    return mean([list(tasks.values())]) if tasks else _last_entry(run, split)


def _is_finished(run: RunReader) -> bool:
    # Earlier versions wrote a summary at the end only.
    return bool(run.summary.get("complete", run.summary.get("after")))


def _last_entry(run: RunReader, split: str) -> float | None:
    after = run.summary.get("after")
    entries = after if isinstance(after, list) else []
    return next((number(one.get("success")) for one in entries if isinstance(one, dict) and one.get("split") == split), None)


def _final_splits(found: Sequence[Configuration]) -> list[str]:
    entries = [entry for each in found for run in each.runs.values() for entry in run.summary.get("after") or []]
    return [str(entry["split"]) for entry in entries if isinstance(entry, dict) and "split" in entry]


def _final_tasks(run: RunReader, split: str) -> TaskValues:
    """Return the success of each task in the last evaluation of a run that has finished; empty for others."""
    evaluations = sorted((one for one in run.outcomes if one.split == split), key=lambda one: one.step)
    if not evaluations or not _is_finished(run):
        return {}
    return {task: one.success for task, one in evaluations[-1].tasks.items()}


def _held_out_area(run: RunReader, split: str) -> float | None:
    tasks = _task_areas(run, split)
    return mean([list(tasks.values())]) if tasks else _area(run, f"eval/{split}/success")


def _task_areas(run: RunReader, split: str) -> TaskValues:
    """Return the area under the outcomes of each task that every evaluation has."""
    evaluations = sorted((one for one in run.outcomes if one.split == split), key=lambda one: one.step)
    if len(evaluations) < 2:
        return {}
    shared = set.intersection(*(set(one.tasks) for one in evaluations))
    return {task: area_under_curve([(one.step, one.tasks[task].success) for one in evaluations]) for task in sorted(shared)}


def _area(run: RunReader, key: str) -> float | None:
    points = {line.step: line.values[key] for line in run.metrics if line.phase == "rl" and key in line.values}
    return area_under_curve(sorted(points.items())) if len(points) > 1 else None


def _warnings(found: Sequence[Configuration]) -> list[str]:
    warnings = [
        f"{run.name} has not finished: numbers after training leave it out"
        for each in found
        for run in each.runs.values()
        if not _is_finished(run)
    ]
    for each in found[1:]:
        pair = _pairs(each, found[0])
        if not pair:
            warnings.append(f"{each.label} and {found[0].label} share no seed: their runs can't be paired")
        elif len(each.runs) == len(found[0].runs) == 1 and each.runs.keys() != found[0].runs.keys():
            warnings.append(f"{each.label} and {found[0].label} have different seeds")
        differing = [key for key in each.settings if key.startswith("eval.") and each.settings[key] != found[0].settings.get(key)]
        if differing:
            warnings.append(f"{each.label} and {found[0].label} differ in {', '.join(differing)}: tasks may not be the same")
    return warnings
