"""Read `outcomes.jsonl`: the success and score of every task of every evaluation of a training run.

Rules:
    - If an evaluation was written twice (a resumed run), the last line counts.
    - A last line without a line break was left by a running or killed writer: it is skipped.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from empg_gym.errors import DataError


@dataclass(frozen=True, slots=True)
class TaskOutcome:
    """One scored task of an evaluation."""

    success: float
    score: float
    task_type: str
    """"" where the file does not state it (earlier versions)."""


@dataclass(frozen=True, slots=True)
class SplitOutcomes:
    """The scored tasks of a split, evaluated after a reinforcement step."""

    step: int
    split: str
    tasks: dict[str, TaskOutcome]


def read_outcomes(path: Path) -> list[SplitOutcomes]:
    """Return the evaluations in the order of the file; an empty list if it does not exist.

    Raises:
        DataError: a complete line is damaged (the error names the line).
    """
    if not path.is_file():
        return []
    found: dict[tuple[int, str], SplitOutcomes] = {}
    with path.open("rb") as source:
        for number, raw in enumerate(source, 1):
            if not raw.endswith(b"\n"):
                break
            try:
                one = _split_outcomes(json.loads(raw))
            except (ValueError, TypeError, KeyError) as error:
                raise DataError(f"{path}, line {number}: expected the outcomes of an evaluation ({error}); remove the line") from None
            found[one.step, one.split] = one
    return list(found.values())


def _split_outcomes(record: dict[str, Any]) -> SplitOutcomes:
    names = [str(task) for task in record["tasks"]]
    types = record.get("types") or [""] * len(names)
    values = zip(names, record["success"], record["score"], types, strict=True)
    tasks = {task: TaskOutcome(float(success), float(score), str(kind)) for task, success, score, kind in values}
    return SplitOutcomes(int(record["step"]), str(record["split"]), tasks)
