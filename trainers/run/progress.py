"""What a training run shows: phases, the metrics of the latest step, evaluations."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType

from rich.console import Console, Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from empg_gym.runs.progress import LiveView
from empg_gym.scoring.format import MISSING, clock, counted, percent, with_interval
from empg_gym.trainers.run.evaluation import EvaluationResult

SHOWN = {
    "warmstart/loss": "loss",
    "train/success": "success",
    "train/valid_action": "valid actions",
    "entropy/step_mean": "step entropy",
    "loss/kl_old": "KL old",
    "loss/grad_norm": "gradient",
    "speed/tokens_per_s": "tokens/s",
}
"""Metrics of the view, with their headings."""
TITLES = {"warmstart": "Warm start", "rl": "Reinforcement"}


class ProgressView:
    """Shows phases, steps and evaluations.

    Args:
        console: the output; without a terminal, every `every`-th step is one line.
        every: steps between lines.
    """

    def __init__(self, console: Console, *, every: int = 10) -> None:
        self.console = console
        self.every = every
        self._bars = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(), console=console
        )
        self._bar: TaskID | None = None
        self._values: dict[str, float] = {}
        self._phase, self._step, self._total = "", 0, 0
        self._done, self._began = 0, 0.0
        self._view = LiveView(console, self._render, self._lines, refresh_per_second=4, transient=False)

    def __enter__(self) -> ProgressView:
        self._view.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._view.stop()

    def phase(self, phase: str, total: int, done: int = 0) -> None:
        """Begin a phase of `total` steps, `done` of which an earlier run has done."""
        self._phase, self._total, self._values = phase, total, {}
        self._done, self._began = done, time.monotonic()
        self._bar = self._bars.add_task(TITLES[phase], total=total, completed=done)
        if not self._view.is_live:
            self.message(f"{TITLES[phase]}: {total} steps" + (f", {done} already done" if done else ""))

    def step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Show the numbers of a finished step."""
        self._step = step
        self._values |= {name: metrics[name] for name in SHOWN if name in metrics}
        if self._bar is not None:
            self._bars.update(self._bar, completed=step)
        if step % self.every == 0 or step == self._total:
            self._view.write_lines()

    def evaluation(self, title: str, results: Sequence[EvaluationResult]) -> None:
        """Show the results of an evaluation in one line."""
        parts = [f"{item.split} {percent(item.success)} of {counted(item.tasks - item.errors, 'task')}{_errors(item)}" for item in results]
        self.message(f"{title}: success " + " · ".join(parts))

    def message(self, text: str) -> None:
        """Show a line that stays."""
        self._view.note(text)

    def once(self, text: str) -> None:
        """Show a line that stays, the first time only."""
        self._view.note_once(text)

    def table(self, table: Table) -> None:
        """Show a table that stays."""
        self.console.print(table)

    def _lines(self) -> Iterator[str]:
        shown = " · ".join(f"{SHOWN[name]} {_number(value)}" for name, value in self._values.items())
        elapsed = time.monotonic() - self._began
        left = elapsed / max(1, self._step - self._done) * (self._total - self._step)
        yield f"{TITLES[self._phase]} {self._step}/{self._total} · {shown} · {clock(elapsed)}, {clock(left)} left"

    def _render(self) -> Group:
        numbers = Table.grid(padding=(0, 2))
        numbers.add_row(*(f"{SHOWN[name]} [b]{_number(value)}[/b]" for name, value in self._values.items()))
        return Group(self._bars, numbers)


def before_and_after(before: Sequence[EvaluationResult], after: Sequence[EvaluationResult]) -> Table:
    """Return the table of a run: success on each split before and after reinforcement."""
    has_errors = any(result.errors for result in (*before, *after))
    table = Table(title="Success on held-out tasks in % [95 % interval], errors excluded")
    errors = ("errors", "errors as 0") if has_errors else ("errors",)
    for heading in ("split", "tasks", "after the warm start", *errors, "after reinforcement", *errors, "change"):
        table.add_column(heading, justify="left" if heading == "split" else "right")
    for first, last in zip(before, after, strict=True):
        change = MISSING if first.success is None or last.success is None else f"{100 * (last.success - first.success):+.1f} points"
        cells = [cell for result in (first, last) for cell in (_share(result), str(result.errors), _of_all(result))[: 1 + len(errors)]]
        table.add_row(first.split, str(first.tasks), *cells, change)
    return table


def _errors(result: EvaluationResult) -> str:
    return f" ({counted(result.errors, 'error')}; {percent(result.success_errors_as_0)} with errors as 0)" if result.errors else ""


def _of_all(result: EvaluationResult) -> str:
    """Return success over all episodes, which is that over the scored ones where none failed."""
    return percent(result.success_errors_as_0 if result.errors else result.success)


def _share(result: EvaluationResult) -> str:
    if result.success_low is None or result.success_high is None:
        return with_interval(result.success, None)
    return with_interval(result.success, (result.success_low, result.success_high))


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
