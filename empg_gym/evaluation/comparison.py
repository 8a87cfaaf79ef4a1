"""Compare evaluation runs on the tasks that they share.

Rules:
    - The first run is the reference; each other is compared with it, environment by environment.
    - Pairs are tasks: the mean over a task's repeats in one run against that in the other, scored episodes only. A difference and its
      interval are over the tasks that both runs have scored, so it may differ from the difference of the two means.
    - Runs of different task panels are refused.
    - Other conditions that make numbers incomparable (other data, other prompts, another version) are reported, not corrected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from empg_gym.errors import ConfigError
from empg_gym.evaluation.folder import read_config
from empg_gym.evaluation.summary import entry_key
from empg_gym.runs.folder import TRAJECTORIES, distinct_names
from empg_gym.scoring.estimates import Value, values_by_task
from empg_gym.scoring.format import with_interval
from empg_gym.scoring.headline import headline_of
from empg_gym.scoring.intervals import Interval, difference_interval, mean
from empg_gym.scoring.record import EpisodeRecord, record_of
from empg_gym.trajectory import read_trajectories

METRICS: dict[str, Value] = {"success": lambda record: float(record.success), "score": lambda record: record.score}
_MUST_AGREE = ("env_version", "data_fingerprint", "split", "wording", "max_steps", "dialogue", "history", "show_admissible", "prompt_hash")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One metric of one run in one environment, and its difference from the reference."""

    run: str
    environment: str
    metric: str
    episodes: int
    errors: int
    value: float | None
    """Over the episodes without an error."""
    interval: Interval | None
    value_errors_as_0: float | None = None
    """Over all episodes, errors as 0; None where no episode failed."""
    interval_errors_as_0: Interval | None = None
    pairs: int = 0
    """Tasks that both runs have scored."""
    difference: float | None = None
    """Mean over the pairs of this run minus the reference; None for the reference itself."""
    difference_interval: Interval | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The numbers of several runs, side by side."""

    runs: tuple[str, ...]
    cells: tuple[Cell, ...]
    warnings: tuple[str, ...]
    """Conditions that make numbers incomparable."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    def columns(self) -> list[str]:
        """Return the names of the columns of `rows`."""
        of_all = ["errors as 0 [95 %]"] if self._failed else []
        return ["environment", "metric", "run", "episodes", "errors", "value [95 %]", *of_all, "difference [95 %]", "tasks"]

    def rows(self) -> list[list[str]]:
        """Return the cells as text; success in percent."""
        return [self._row(cell) for cell in self.cells]

    @property
    def _failed(self) -> bool:
        return any(cell.errors for cell in self.cells)

    def _row(self, cell: Cell) -> list[str]:
        percent = cell.metric == "success"
        digits = 1 if percent else 3
        difference = "" if cell.difference is None else with_interval(cell.difference, cell.difference_interval, digits, percent=percent)
        return [
            cell.environment,
            "success %" if percent else cell.metric,
            cell.run,
            str(cell.episodes),
            str(cell.errors),
            with_interval(cell.value, cell.interval, digits, percent=percent),
            *([_of_all(cell, digits, percent)] if self._failed else []),
            difference,
            str(cell.pairs) if cell.difference is not None else "",
        ]

    def table(self) -> Table:
        """Return the comparison for a console."""
        table = Table(*self.columns(), box=None, pad_edge=False)
        before: list[str] = []
        for row in self.rows():
            table.add_row(*(("", "") if row[:2] == before else map(escape, row[:2])), *map(escape, row[2:]))
            before = row[:2]
        return table


@dataclass(frozen=True, slots=True)
class _Run:
    name: str
    config: dict[str, Any]
    records: dict[str, list[EpisodeRecord]]


def compare(folders: Sequence[str | Path]) -> Comparison:
    """Compare the runs in `folders`; the first is the reference.

    Raises:
        ConfigError: fewer than two folders, a folder named twice, no environment that all runs have, or different panels.
        DataError: a folder is not an evaluation run.
    """
    if len(folders) < 2:
        raise ConfigError("compare expects at least two run folders; the others are compared with the first")
    runs = [_load(Path(folder), name) for folder, name in zip(folders, distinct_names(folders), strict=True)]
    shared = [key for key in runs[0].records if all(key in run.records for run in runs)]
    if not shared:
        raise ConfigError("the runs share no environment: " + "; ".join(f"{run.name} has {', '.join(run.records)}" for run in runs))
    for key in shared:
        _refuse_other_panels(runs, key)
    cells = [_cell(run, runs[0], key, metric) for key in shared for metric in METRICS for run in runs]
    return Comparison(runs=tuple(run.name for run in runs), cells=tuple(cells), warnings=tuple(_warnings(runs, shared)))


def _refuse_other_panels(runs: Sequence[_Run], key: str) -> None:
    panels = {run.name: _panel(run, key) for run in runs}
    named = {name: panel for name, panel in panels.items() if panel is not None}
    if len(set(named.values())) > 1:
        raise ConfigError(f"{key}: the runs are of different task panels and can't be paired: {_list(named)}; run them on one panel")


def _panel(run: _Run, key: str) -> str | None:
    """Return name and fingerprint of a run's panel in an environment; None without one."""
    panel = run.config["environments"][key].get("panel")
    return None if panel is None else f"{panel['name']} [{panel['fingerprint']}]"


def _list(panels: dict[str, str]) -> str:
    return ", ".join(f"{name} has {panel}" for name, panel in panels.items())


def _load(folder: Path, name: str) -> _Run:
    config = read_config(folder)
    records: dict[str, list[EpisodeRecord]] = {key: [] for key in config["environments"]}
    for trajectory in read_trajectories(folder / TRAJECTORIES):
        key = entry_key(trajectory, records)
        records.setdefault(key, []).append(record_of(trajectory, key))
    return _Run(name, config, records)


def _task_means(run: _Run, key: str, metric: str) -> dict[str, float]:
    return {task: mean([values]) for task, values in values_by_task(run.records[key], METRICS[metric]).items()}


def _cell(run: _Run, reference: _Run, key: str, metric: str) -> Cell:
    records = run.records[key]
    headline = headline_of(records)
    estimate = headline.success if metric == "success" else headline.score
    differences: list[float] = []
    if run is not reference:
        means, others = (_task_means(one, key, metric) for one in (run, reference))
        differences = [means[task] - others[task] for task in means if task in others]
    of_all = headline.success_of_all if metric == "success" else headline.score_of_all
    return Cell(
        run=run.name,
        environment=key,
        metric=metric,
        episodes=headline.episodes,
        errors=headline.errors,
        value=None if estimate is None else estimate.mean,
        interval=None if estimate is None else estimate.interval,
        value_errors_as_0=of_all.mean if of_all is not None and headline.errors else None,
        interval_errors_as_0=of_all.interval if of_all is not None and headline.errors else None,
        pairs=len(differences),
        difference=mean([differences]) if differences else None,
        difference_interval=difference_interval(differences) if differences else None,
    )


def _of_all(cell: Cell, digits: int, percent: bool) -> str:
    if cell.value_errors_as_0 is None:
        return with_interval(cell.value, cell.interval, digits, percent=percent)
    return with_interval(cell.value_errors_as_0, cell.interval_errors_as_0, digits, percent=percent)


def _warnings(runs: Sequence[_Run], shared: Sequence[str]) -> list[str]:
    warnings = []
    for key in shared:
        first = runs[0].config["environments"][key]
        for run in runs[1:]:
            facts = run.config["environments"][key]
            different = [name for name in _MUST_AGREE if facts.get(name) != first.get(name)]
            if different:
                warnings.append(f"{key}: {run.name} and {runs[0].name} differ in {', '.join(different)}")
            if (_panel(run, key) is None) != (_panel(runs[0], key) is None):
                warnings.append(f"{key}: only one of {run.name} and {runs[0].name} is of a task panel")
        failed = {run.name: sum(record.is_error for record in run.records[key]) for run in runs}
        if any(failed.values()):
            counts = ", ".join(f"{count} in {name}" for name, count in failed.items() if count)
            warnings.append(
                f"{key}: episodes failed by an error ({counts}); values and differences leave them out, errors as 0 counts them"
            )
    return warnings
