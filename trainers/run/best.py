"""The best checkpoint of a run: the one with the highest success on the held-out tasks.

Rules:
    - Every evaluation counts, that before reinforcement included. Success is the mean over the evaluated splits, and equal success is
      decided by the score; the earlier one stays best where both are equal.
    - `checkpoints/best` holds the name of the checkpoint, which is kept in addition to the latest ones.
    - It was chosen on these tasks, so its success on them is biased upwards: evaluate it on others, or compare runs by their last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from empg_gym.runs.atomic_write import atomic_write
from empg_gym.trainers.run.evaluation import EvaluationResult
from empg_gym.trainers.run.latest import BEST


def candidate(results: Sequence[EvaluationResult], checkpoint: str, step: int) -> dict[str, Any] | None:
    """Return the entry of an evaluated checkpoint; None if no episode was scored.

    Example:
        `{"checkpoint": "rl-000050", "step": 50, "success": 0.7, "score": 0.7, "splits": {"test": 0.7}}`
    """
    scored = [(item.split, item.success, item.score or 0.0) for item in results if item.success is not None]
    if not scored:
        return None
    return {
        "checkpoint": checkpoint,
        "step": step,
        "success": sum(success for _, success, _ in scored) / len(scored),
        "score": sum(score for _, _, score in scored) / len(scored),
        "splits": {split: success for split, success, _ in scored},
    }


def is_better(found: dict[str, Any], best: dict[str, Any] | None) -> bool:
    """Whether an entry beats the best one so far."""
    return best is None or (found["success"], found["score"]) > (best["success"], best["score"])


def point_to_best(folder: Path, best: dict[str, Any] | None) -> None:
    """Make `best` in the folder of checkpoints name the best one, if that checkpoint is there."""
    if best is not None and (folder / best["checkpoint"]).is_dir():
        atomic_write(folder / BEST, best["checkpoint"] + "\n", sync=True)
