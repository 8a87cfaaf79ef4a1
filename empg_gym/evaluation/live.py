"""The live table of an evaluation: episodes done, results so far, time left.

On a terminal the table is redrawn twice a second. Elsewhere (a log file, a pipe) lines are written at most every `QUIET_SECONDS`.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from empg_gym.data_name import with_data
from empg_gym.runs.progress import LiveView
from empg_gym.scoring.format import MISSING, clock, compact, with_interval
from empg_gym.scoring.headline import headline_of
from empg_gym.scoring.record import EpisodeRecord
from empg_gym.scoring.usage import count_tokens

QUIET_SECONDS = 15.0


class LiveTable:
    """Shows an evaluation on a console while it runs."""

    def __init__(self, console: Console) -> None:
        self._view = LiveView(console, self._table, self._lines, refresh_per_second=2, transient=True)
        self._totals: dict[str, int] = {}
        self._records: dict[str, list[EpisodeRecord]] = defaultdict(list)
        self._new: dict[str, int] = defaultdict(int)
        self._began = self._written = 0.0

    def note(self, text: str) -> None:
        """Show a line that stays."""
        self._view.note(text)

    def begin(self, totals: Mapping[str, int], done: Sequence[EpisodeRecord]) -> None:
        """Start with the number of episodes of each environment and the records of a resumed run."""
        self._totals = dict(totals)
        for record in done:
            self._records[record.env].append(record)
        self._began = self._written = time.monotonic()
        if done:
            self.note(f"resuming: {len(done)} of {sum(totals.values())} episodes are done")
        self._view.start()

    def episode(self, record: EpisodeRecord) -> None:
        """Add a finished episode."""
        self._records[record.env].append(record)
        self._new[record.env] += 1
        if time.monotonic() - self._written >= QUIET_SECONDS:
            self._written = time.monotonic()
            self._view.write_lines()

    def end(self) -> None:
        """Stop showing the table."""
        self._view.stop()

    def _lines(self) -> Iterator[str]:
        for env in self._totals:
            done, success, _, tokens, errors, rate, left = self._cells(env)
            yield f"{env}: {done} episodes, success {success} %, {tokens} tokens, {errors} errors, {rate} episodes/s, {left} left"

    def _table(self) -> Table:
        table = Table(
            "environment", "episodes", "success % [95 %]", "score", "tokens", "errors", "episodes/s", "left", box=None, pad_edge=False
        )
        for env in self._totals:
            table.add_row(escape(env), *self._cells(env))
        return table

    def _cells(self, env: str) -> tuple[str, str, str, str, str, str, str]:
        records = list(self._records[env])
        headline = headline_of(records)
        success, score = headline.success, headline.score
        seconds = time.monotonic() - self._began
        rate = self._new[env] / seconds if seconds > 0 else 0.0
        missing = self._totals[env] - len(records)
        return (
            f"{len(records)}/{self._totals[env]}",
            MISSING if success is None else with_interval(success.mean, success.interval),
            MISSING if score is None else f"{score.mean:.3f}",
            compact(count_tokens(records).total),
            str(headline.errors),
            f"{rate:.2f}",
            MISSING if rate == 0.0 else clock(missing / rate),
        )


def results_table(results: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return the results of a run as a table, groups below their environment; k of pass@k is the number of repeats.

    Where episodes failed, "errors as 0" shows success over all of them; the other columns leave them out.
    """
    failed = any(entry["errors"] for entry in results.values())
    repeats = max((len(entry["pass_at_k"]) for entry in results.values()), default=0)
    several = (f"pass@{repeats} %",) if repeats > 1 else ()
    table = Table("environment", "episodes", "errors", "success % [95 %]", "score [95 %]", box=None, pad_edge=False)
    for column in (*(("errors as 0: success % [95 %]",) if failed else ()), *several, "steps", "invalid", "tokens"):
        table.add_column(column)
    for env, entry in results.items():
        tokens = entry["tokens"]
        steps, invalid = entry["steps"], entry["invalid_actions"]["rate"]
        table.add_row(
            with_data(env, entry["panel"]["name"] if entry.get("panel") else entry.get("data")),
            *_headline(entry, failed),
            *(with_interval(entry["pass_at_k"].get(str(repeats)), None) for _ in several),
            MISSING if steps is None else f"{steps['mean']:.1f}",
            MISSING if invalid is None else f"{invalid:.1%}",
            compact((tokens["prompt"] or 0) + (tokens["completion"] or 0)),
        )
        for kind in ("by_domain", "by_task_type"):
            for name, group in entry[kind].items():
                table.add_row(escape(f"  {name}"), *_headline(group, failed), style="dim")
    return table


def _headline(entry: Mapping[str, Any], failed: bool) -> tuple[str, ...]:
    of_all = (entry.get(f"success_{name}_errors_as_0", entry[f"success_{name}"]) for name in ("rate", "interval"))
    return (
        str(entry["episodes"]),
        str(entry["errors"]),
        with_interval(entry["success_rate"], entry["success_interval"]),
        with_interval(entry["score_mean"], entry["score_interval"], 3, percent=False),
        *((with_interval(*of_all),) if failed else ()),
    )
