"""Metrics of a run: `metrics.jsonl`, one JSON object a step, and the same numbers for TensorBoard.

A resumed run cuts the file behind the step that it resumes from, so that every step stands there once. TensorBoard is told the same
(`purge_step`). It knows one axis of steps a folder, so each phase has a folder of its own: `tensorboard/warmstart`, `tensorboard/rl`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

METRICS, BOARD = "metrics.jsonl", "tensorboard"
PHASES = ("warmstart", "rl")
"""In the order of a run."""


class MetricsWriter:
    """Appends to the metrics of a run folder.

    Args:
        folder: of the run.
        resumed: (phase, step) that the run goes on from; None where it begins.
    """

    def __init__(self, folder: Path, resumed: tuple[str, int] | None = None) -> None:
        self.folder = folder
        self._lines = (folder / METRICS).open("a", encoding="utf-8")
        self._purge = {} if resumed is None else {resumed[0]: resumed[1] + 1}
        self._boards: dict[str, SummaryWriter] = {}

    def write(self, phase: str, step: int, seconds: float, values: Mapping[str, float]) -> None:
        """Write the numbers of a step; what is not finite is left out, since JSON has no word for it."""
        finite = {name: float(value) for name, value in values.items() if math.isfinite(value)}
        self._lines.write(json.dumps({"phase": phase, "step": step, "seconds": round(seconds, 3), **finite}) + "\n")
        self._lines.flush()
        for name, value in finite.items():
            self._board(phase).add_scalar(f"{phase}/{name}", value, step)

    def close(self) -> None:
        """Close the files."""
        self._lines.close()
        for board in self._boards.values():
            board.close()

    def _board(self, phase: str) -> SummaryWriter:
        from torch.utils.tensorboard import SummaryWriter

        if phase not in self._boards:
            # A phase that this run begins may have been begun before: all of it is purged then.
            self._boards[phase] = SummaryWriter(str(self.folder / BOARD / phase), purge_step=self._purge.get(phase, 0))
        return self._boards[phase]

    def __enter__(self) -> MetricsWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def keep_until(path: Path, phase: str, step: int) -> None:
    """Cut a JSON-lines file behind (phase, step), in one move; lines name their phase and step at the top or in `info`."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        place = _place(line)
        if place is not None and place <= (PHASES.index(phase), step):
            kept.append(line)
    partial = path.with_name(f".{path.name}")
    partial.write_text("".join(kept), encoding="utf-8")
    partial.replace(path)


def _place(line: str) -> tuple[int, int] | None:
    """Return (index of the phase, step) of a line; None for the torn last line of a killed run."""
    try:
        record: dict[str, Any] = json.loads(line)
        entry = record if "phase" in record else record["info"]
        return PHASES.index(entry["phase"]), int(entry["step"])
    except (ValueError, KeyError):
        return None
