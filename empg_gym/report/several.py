"""The page of several runs: training runs overlaid by configuration, or evaluations side by side by task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from empg_gym.errors import ConfigError
from empg_gym.report.cells import short_env
from empg_gym.report.configurations import Configuration, configurations, seed_of
from empg_gym.report.episodes import EpisodeStore
from empg_gym.report.overlay import overlay
from empg_gym.report.overview import vocabulary
from empg_gym.report.publish import Publisher
from empg_gym.report.run_reader import RunReader
from empg_gym.report.tables import Table
from empg_gym.report.training_comparison import COLUMNS, compare_configurations
from empg_gym.runs.folder import distinct_names


class SeveralRuns:
    """Several runs of one kind, read.

    Args:
        folders: the runs, at least two.
        table: of evaluations, their values and paired differences; None shows only their tasks.
        warnings: of evaluations, conditions that make numbers incomparable.
        redact: hide what identifies a person or a machine.

    Raises:
        ConfigError: the runs are of both kinds, a folder is named twice, or two runs have one configuration and seed.
        DataError: a folder is not a run, or a file in it is damaged.
    """

    def __init__(self, folders: Sequence[Path], *, table: Table | None = None, warnings: Sequence[str] = (), redact: bool = False) -> None:
        self.episodes = EpisodeStore()
        names = distinct_names(folders)
        if redact:
            publisher = Publisher(Path.cwd())
            hidden = [publisher.text(name) for name in names]
            names = [name if hidden.count(name) == 1 else f"{name} {number}" for number, name in enumerate(hidden, 1)]
            table = None if table is None else replace(table, rows=[[publisher.text(cell) for cell in row] for row in table.rows])
            warnings = [publisher.text(warning) for warning in warnings]
        self.runs = [
            RunReader(folder, name=name, episodes=self.episodes, redact=redact) for folder, name in zip(folders, names, strict=True)
        ]
        self.is_training = is_training(folders)
        for run in self.runs:
            run.refresh()
        self._configurations: list[Configuration] = configurations(self.runs) if self.is_training else []
        self._table, self._warnings = table, tuple(warnings)

    def values(self) -> dict[str, Any]:
        """Return the values of the templates."""
        table, warnings, pairs = self._table, self._warnings, ""
        if self.is_training:
            compared = compare_configurations(self._configurations)
            table, warnings = Table("Success of the configurations", list(COLUMNS), compared.rows()), compared.warnings
            pairs = "seeds where there are several, else tasks"
        return {
            "parts": {"head": "several.jinja", "tables": "settings.jinja"},
            "title": " and ".join(run.name for run in self.runs) if len(self.runs) < 4 else f"{len(self.runs)} runs",
            "kind": "Training runs" if self.is_training else "Evaluations",
            "is_training": self.is_training,
            "compared": table,
            "pairs": pairs or "tasks",
            "warnings": warnings,
            "runs": self._runs_table(),
            "settings": self._settings_table(),
        }

    def _runs_table(self) -> Table:
        if self.is_training:
            rows = [
                [run.name, each.name, str(seed_of(run)), str(run.metrics[-1].step) if run.metrics else "–"]
                for each in self._configurations
                for run in each.runs.values()
            ]
            return Table("Runs", ["Run", "Configuration", "Seed", "Steps"], rows)
        rows = []
        for run in self.runs:
            own = [row for row in self.episodes.rows if row["run"] == run.name]
            facts = [", ".join(sorted({str(row[key]) for row in own if row[key]})) or "–" for key in ("agent", "split")]
            environments = ", ".join(sorted({short_env(row["env"]) for row in own})) or "–"
            rows.append([run.name, environments, *facts, f"{len(own):,}"])
        return Table("Runs", ["Run", "Environment", "Agent", "Split", "Episodes"], rows)

    def _settings_table(self) -> Table | None:
        """Return the settings in which configurations differ, one per row."""
        settings = list(dict.fromkeys(key for each in self._configurations for key in each.settings))
        rows = [[key, *(each.settings[key] for each in self._configurations)] for key in settings]
        return (
            Table("Settings in which the configurations differ", ["Setting", *(each.name for each in self._configurations)], rows)
            if rows
            else None
        )

    def curves(self) -> dict[str, Any]:
        """Return the metrics of training runs, one chart each."""
        return {"charts": overlay(self._configurations), "histogram": None}

    def vocabularies(self) -> dict[str, dict[str, str]]:
        """Return the texts of each run's tokens: two runs may have different tokenizers."""
        return {run.name: vocabulary(run) for run in self.runs}


def is_training(folders: Sequence[Path]) -> bool:
    """Whether runs are training runs.

    Raises:
        ConfigError: some are and others are not.
        DataError: a folder is not a run.
    """
    kinds = {folder: RunReader(folder).is_training for folder in folders}
    if len(set(kinds.values())) > 1:
        names = ", ".join(f"{folder} is {'a training run' if kind else 'an evaluation'}" for folder, kind in kinds.items())
        raise ConfigError(f"runs of one kind can be compared, but {names}")
    return next(iter(kinds.values()))
