"""The result of an evaluation, as `summary.json` holds it."""

from __future__ import annotations

import contextlib
import html
import io
import platform
from collections.abc import Container, Mapping
from dataclasses import dataclass, field, fields
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from rich.console import Console

import empg_gym
from empg_gym.errors import require
from empg_gym.scoring.record import EpisodeRecord
from empg_gym.trajectory import Trajectory

if TYPE_CHECKING:
    import pandas

_WIDTH = 140
"""Columns of a printed table."""
_PACKAGES = ("gymnasium", "numpy", "httpx")


@dataclass(frozen=True, slots=True)
class Summary:
    """The numbers of an evaluation; `data` is the content of `summary.json`. Printed, or shown in a notebook, it is a table."""

    data: dict[str, Any]
    records: tuple[EpisodeRecord, ...] = field(default=(), repr=False)

    @property
    def results(self) -> dict[str, dict[str, Any]]:
        """Environment to its numbers: `results["EMPG/ALFWorld-v0"]["success_rate"]`."""
        results: dict[str, dict[str, Any]] = self.data["results"]
        return results

    @property
    def errors(self) -> int:
        """Episodes that failed by an error, over all environments."""
        return sum(int(entry["errors"]) for entry in self.results.values())

    def __str__(self) -> str:
        from empg_gym.evaluation.live import results_table

        text = io.StringIO()
        Console(file=text, width=_WIDTH, color_system=None).print(results_table(self.results))
        return "\n".join(line.rstrip() for line in text.getvalue().splitlines())

    def _repr_html_(self) -> str:
        """Return the table as HTML, for notebooks."""
        from empg_gym.evaluation.live import results_table

        table = results_table(self.results)
        head = "".join(f"<th>{html.escape(str(column.header))}</th>" for column in table.columns)
        rows = zip(*(column.cells for column in table.columns), strict=True)
        body = "".join(f"<tr>{''.join(f'<td>{html.escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def to_frame(self) -> pandas.DataFrame:
        """Return a pandas data frame with one row per episode: the fields of `empg_gym.scoring.record.EpisodeRecord`.

        Raises:
            MissingDependencyError: pandas is not installed.
        """
        module: Any = require("pandas", "frame", "to_frame()")
        names = [item.name for item in fields(EpisodeRecord)]
        rows = [{name: _plain(getattr(record, name)) for name in names} for record in self.records]
        frame: pandas.DataFrame = module.DataFrame(rows, columns=names)
        return frame


def _plain(value: object) -> object:
    return str(value) if isinstance(value, str) else value


def entry_key(trajectory: Trajectory, entries: Container[str]) -> str:
    """Return the key of the trajectory's environment: "id@split" where the run has such an entry, else the id."""
    both = f"{trajectory.env_id}@{trajectory.split}"
    return both if both in entries else trajectory.env_id


def merge(facts: Mapping[str, Any], numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Return one environment's entry: its numbers first, then what they were measured on."""
    return {**numbers, **{name: value for name, value in facts.items() if name not in numbers}}


def versions() -> dict[str, str]:
    """Return the versions of the package, of Python and of the packages that an evaluation depends on."""
    found = {"empg_gym": empg_gym.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
