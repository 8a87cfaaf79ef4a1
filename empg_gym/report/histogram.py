"""The distribution of step entropies: by the outcome of the episode, or by the phase of a training run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from empg_gym.report.episodes import StepEntropy
from empg_gym.report.phases import in_order
from empg_gym.scoring.record import Outcome

_SERIES = {Outcome.SUCCESS: "successful episodes", Outcome.FAILURE: "failed episodes"}


def histogram(steps: Sequence[StepEntropy], *, by_phase: bool = False, bins: int = 30) -> dict[str, Any] | None:
    """Return the share of steps per bin, for each outcome or phase.

    Args:
        steps: entropies of steps.
        by_phase: separate the phases of a training run instead of successful and failed episodes.
        bins: number of bins of equal width; the last one also holds the highest 0.5 %.

    Returns:
        `{"edges": [bins + 1], "series": [{"name", "steps", "shares": [bins]}]}`; None if no scored episode has an entropy.
    """
    if not steps:
        return None
    top = max(float(np.quantile([step.entropy for step in steps], 0.995)), 1e-3)
    edges = np.linspace(0.0, top, bins + 1)
    scored = [step for step in steps if step.outcome in _SERIES]
    if by_phase:
        names = {phase: phase or "episodes" for phase in sorted({step.phase for step in scored}, key=in_order)}
        lines = {name: [step.entropy for step in scored if step.phase == phase] for phase, name in names.items()}
    else:
        lines = {name: [step.entropy for step in scored if step.outcome is outcome] for outcome, name in _SERIES.items()}
    series = []
    for name, values in lines.items():
        chosen = np.minimum(values, top)
        if len(chosen):
            counts, _ = np.histogram(chosen, edges)
            series.append({"name": name, "steps": len(chosen), "shares": [round(float(v), 5) for v in counts / len(chosen)]})
    return {"edges": [round(float(edge), 5) for edge in edges], "series": series} if series else None
