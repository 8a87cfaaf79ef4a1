"""Metrics of a run: `metrics.jsonl`, one JSON object per step, and the same numbers for TensorBoard.

A resumed run cuts the file after the step that it resumes from, so that every step is in it once; TensorBoard does the same
(`purge_step`). TensorBoard has one axis of steps per folder, so each phase has its own: `tensorboard/warmstart`, `tensorboard/rl`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from empg_gym.runs.atomic_write import atomic_write
from empg_gym.trainers.run.loggers import PHASES as PHASES
from empg_gym.trainers.run.loggers import Logger

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

METRICS, BOARD = "metrics.jsonl", "tensorboard"


class MetricsWriter:
    """Appends to the metrics of a run folder.

    Args:
        folder: the run folder.
        resumed: (phase, step) that the run resumes from; None for a new run.
        loggers: further places for the metrics, by name.
        on_failure: takes one sentence about a logger that failed; it is left out from then on.
    """

    def __init__(
        self,
        folder: Path,
        resumed: tuple[str, int] | None = None,
        *,
        loggers: Mapping[str, Logger] | None = None,
        on_failure: Callable[[str], None] = print,
    ) -> None:
        self.folder = folder
        self._lines = (folder / METRICS).open("a", encoding="utf-8")
        self._purge = {} if resumed is None else {resumed[0]: resumed[1] + 1}
        self._boards: dict[str, SummaryWriter] = {}
        self._loggers, self._on_failure = dict(loggers or {}), on_failure

    def write(self, phase: str, step: int, seconds: float, values: Mapping[str, float]) -> None:
        """Write the numbers of a step; NaN and infinities are left out, since JSON lacks them."""
        finite = {name: float(value) for name, value in values.items() if math.isfinite(value)}
        self._lines.write(json.dumps({"phase": phase, "step": step, "seconds": round(seconds, 3), **finite}) + "\n")
        self._lines.flush()
        for name, value in finite.items():
            self._board(phase).add_scalar(f"{phase}/{name}", value, step)
        for name in list(self._loggers):
            self._ask(name, lambda logger: logger.log(phase, step, finite))

    def close(self) -> None:
        """Close the files."""
        self._lines.close()
        for board in self._boards.values():
            board.close()
        for name in list(self._loggers):
            self._ask(name, lambda logger: logger.close())
            self._loggers.pop(name, None)

    def _ask(self, name: str, call: Callable[[Logger], None]) -> None:
        try:
            call(self._loggers[name])
        except Exception as error:
            self._loggers.pop(name)
            self._on_failure(
                f"The logger {name} failed and gets no more metrics ({type(error).__name__}: {error}); metrics.jsonl has them all"
            )

    def _board(self, phase: str) -> SummaryWriter:
        from torch.utils.tensorboard import SummaryWriter

        if phase not in self._boards:
            # A phase that this run begins may have been begun by a killed one: purge all of it.
            self._boards[phase] = SummaryWriter(str(self.folder / BOARD / phase), purge_step=self._purge.get(phase, 0))
        return self._boards[phase]

    def __enter__(self) -> MetricsWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def keep_until(path: Path, phase: str, step: int) -> None:
    """Cut a JSON-lines file after (phase, step), whole or not at all; lines name their phase and step at the top level or in `info`.

    Raises:
        OSError: the file can't be written; the old content stays.
    """
    if not path.is_file():
        return
    kept = []
    for line in path.read_bytes().split(b"\n"):
        place = _place(line)
        if place is not None and place <= (PHASES.index(phase), step):
            kept.append(line + b"\n")
    atomic_write(path, b"".join(kept))


def _place(line: bytes) -> tuple[int, int] | None:
    """Return (index of the phase, step) of a line; None for the torn last line of a killed run."""
    try:
        record: dict[str, Any] = json.loads(line)
        entry = record if "phase" in record else record["info"]
        return PHASES.index(entry["phase"]), int(entry["step"])
    except (ValueError, KeyError):
        return None
