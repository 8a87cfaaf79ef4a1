"""Run the training runs of a study in worker processes.

Rules:
    - A finished run is not repeated, an unfinished one resumes from its latest checkpoint, so that a killed study can be started again.
    - A run that fails is reported with its last line; the others continue, those that need its weights are skipped.
    - However the study ends, its processes end with it (`empg_gym.children`); where it can, it lets them write their summaries first.
    - The output of the runs is in `logs/`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from empg_gym.children import child_environment, guard, release
from empg_gym.study.plan import Plan, Run, is_finished

_POLL_SECONDS = 0.2
_PATIENCE_SECONDS = 8.0
"""Time that a process gets to end after SIGTERM."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A run that did not finish."""

    run: Run
    reason: str


class Executor:
    """Runs a plan.

    Args:
        plan: the plan.
        jobs: processes at the same time.
        report: called with a line about each run that begins, ends or is skipped.
        finished: called after each run that finished.
    """

    def __init__(self, plan: Plan, jobs: int, *, report: Callable[[str], None], finished: Callable[[], None]) -> None:
        self.plan, self.jobs = plan, jobs
        self._report, self._finished = report, finished
        self._running: dict[Run, subprocess.Popen[bytes]] = {}
        self._log_sizes: dict[Run, int] = {}  # before this attempt; earlier ones are in the same file
        self._waiting = [run for run in plan.runs if not run.is_finished]
        self.failures: list[Failure] = []

    def run(self) -> list[Failure]:
        """Run everything that is not finished and return the failures.

        Raises:
            OutputExistsError: a folder holds a run with another configuration.
        """
        for run in self.plan.runs:
            run.check_folder()
        try:
            while self._waiting or self._running:
                self._begin()
                self._collect()
                if self._running:
                    time.sleep(_POLL_SECONDS)
        finally:
            self._end_all()
        return self.failures

    def _begin(self) -> None:
        for run in list(self._waiting):
            if len(self._running) >= self.jobs:
                return
            if run.after is None or is_finished(run.after):
                self._waiting.remove(run)
                self._start(run)
            elif not any(other.folder == run.after for other in (*self._running, *self._waiting)):
                self._waiting.remove(run)
                self._fail(run, "its warm start failed")

    def _start(self, run: Run) -> None:
        log = self._log(run)
        log.parent.mkdir(parents=True, exist_ok=True)
        variables = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "COLUMNS": "140"}
        command = [sys.executable, "-c", "from empg_gym.cli import main; main()", *run.arguments]
        with log.open("ab") as output:
            self._log_sizes[run] = output.tell()
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=child_environment(variables),
                start_new_session=True,
            )
        guard(process.pid)
        self._running[run] = process
        self._report(f"{'resuming' if run.is_begun else 'running'} {run.name}")

    def _collect(self) -> None:
        for run, process in list(self._running.items()):
            code = process.poll()
            if code is None:
                continue
            del self._running[run]
            release(process.pid)
            if code == 0 and run.is_finished:
                self._report(f"finished {run.name}")
                self._finished()
            else:
                self._fail(run, self._reason(run, code))

    def _reason(self, run: Run, code: int) -> str:
        """Return why a process failed: its last line of this attempt, or how it ended."""
        if code < 0:
            return f"ended by {signal.Signals(-code).name}"
        with self._log(run).open("rb") as log:
            log.seek(self._log_sizes[run])
            lines = [line.strip() for line in log.read().decode(errors="replace").splitlines() if line.strip()]
        return lines[-1] if lines else f"exit code {code}"

    def _fail(self, run: Run, reason: str) -> None:
        self.failures.append(Failure(run, reason))
        self._report(f"failed {run.name}: {reason}")

    def _end_all(self) -> None:
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            try:
                process.wait(_PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            release(process.pid)
        self._running.clear()

    def _log(self, run: Run) -> Path:
        return self.plan.folder / "logs" / f"{run.name}.log"
