"""Metrics of a run: `metrics.jsonl`, one JSON object a step, and the same numbers for TensorBoard.

A resumed run cuts the file behind the step that it resumes from, so that every step stands there once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

METRICS = "metrics.jsonl"
PHASES = ("warmstart", "rl")
"""In the order of a run."""


class MetricsWriter:
    """Appends to the metrics of a run folder."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._lines = (folder / METRICS).open("a", encoding="utf-8")
        self._board = SummaryWriter(str(folder / "tensorboard"))

    def write(self, phase: str, step: int, seconds: float, values: Mapping[str, float]) -> None:
        """Write the numbers of a step; what is not finite is left out, since JSON has no word for it."""
        finite = {name: float(value) for name, value in values.items() if math.isfinite(value)}
        self._lines.write(json.dumps({"phase": phase, "step": step, "seconds": round(seconds, 3), **finite}) + "\n")
        self._lines.flush()
        for name, value in finite.items():
            self._board.add_scalar(f"{phase}/{name}", value, step)

    def close(self) -> None:
        """Close the files."""
        self._lines.close()
        self._board.close()

    def __enter__(self) -> MetricsWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def keep_until(path: Path, phase: str, step: int) -> None:
    """Cut a JSON-lines file behind (phase, step); lines name their phase and step at the top or in `info`."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        place = _place(line)
        if place is not None and place <= (PHASES.index(phase), step):
            kept.append(line)
    path.write_text("".join(kept), encoding="utf-8")


def _place(line: str) -> tuple[int, int] | None:
    """Return (index of the phase, step) of a line; None for the torn last line of a killed run."""
    try:
        record: dict[str, Any] = json.loads(line)
        entry = record if "phase" in record else record["info"]
        return PHASES.index(entry["phase"]), int(entry["step"])
    except (ValueError, KeyError):
        return None
