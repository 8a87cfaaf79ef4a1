"""Which episodes a run records for its report (`trajectories.jsonl`).

Rules:
    - Training samples are whole groups, the first of the batch: an advantage can only be read beside those of its group.
    - Evaluation samples are the first tasks, which are the same ones in every evaluation.
    - A sample says when it was taken: `info` has `phase`, `step` and `kind`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from empg_gym.trajectory import Trajectory

Kind = Literal["training", "evaluation"]


def sample(trajectories: Sequence[Trajectory], number: int, *, kind: Kind, phase: str, step: int) -> list[Trajectory]:
    """Return the episodes to record, marked.

    Args:
        trajectories: all episodes of a batch or of a split.
        number: how many to record; of a training batch at least as many, so that the last group is whole. 0 records none.
        kind: where the episodes come from.
        phase: phase of the run.
        step: number of finished steps of the phase.
    """
    if kind == "evaluation":
        chosen = sorted(trajectories, key=lambda item: (item.repeat, item.group))[:number]
    else:
        ordered = sorted(trajectories, key=lambda item: (item.group, item.repeat))
        last = ordered[min(number, len(ordered)) - 1].group if number and ordered else None
        chosen = [] if last is None else [item for item in ordered if item.group <= last]
    for trajectory in chosen:
        trajectory.info |= {"phase": phase, "step": step, "kind": kind}
    return chosen
