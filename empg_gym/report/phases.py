"""When an episode of a training run was recorded.

Rules:
    - A training run records samples, from a policy that changes: no number of theirs is pooled over phases.
    - Evaluations before, during and after reinforcement are phases of their own; training batches are another.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

BEFORE, TRAINING, DURING, AFTER = "evaluation before", "training", "evaluation during", "evaluation after"
PHASES = (BEFORE, TRAINING, DURING, AFTER)
"""Phases of reinforcement, in the order of a report."""


def phase_of(info: Mapping[str, Any], last_step: int | None) -> str:
    """Return the phase in which an episode was recorded; "" where its record does not state one.

    Args:
        info: `Trajectory.info`: `phase`, `step` and `kind` as the trainer writes them.
        last_step: reinforcement steps that the run was planned for; None if unknown.
    """
    phase, kind, step = info.get("phase"), info.get("kind"), info.get("step")
    if phase == "rl" and kind == "training":
        return TRAINING
    if phase == "rl" and kind == "evaluation" and isinstance(step, int):
        return BEFORE if step == 0 else AFTER if last_step is not None and step >= last_step else DURING
    return " ".join(str(part) for part in (phase, kind) if part)


def in_order(phase: str) -> tuple[int, str]:
    """Return the key that sorts phases by time."""
    return (PHASES.index(phase) if phase in PHASES else len(PHASES), phase)
