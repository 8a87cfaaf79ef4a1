"""The distribution of step entropies, of successful and of failed episodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from empg_gym.scoring.record import Outcome

_SERIES = (("successful episodes", Outcome.SUCCESS), ("failed episodes", Outcome.FAILURE))


def histogram(step_entropies: Sequence[tuple[float, Outcome]], bins: int = 30) -> dict[str, Any] | None:
    """Return the share of steps per bin, for each outcome.

    Args:
        step_entropies: (mean token entropy of a step in nats, outcome of its episode).
        bins: number of bins of equal width; the last one also holds the highest 0.5 %.

    Returns:
        `{"edges": [bins + 1], "series": [{"name", "steps", "shares": [bins]}]}`; None if no scored episode has an entropy.
    """
    if not step_entropies:
        return None
    top = max(float(np.quantile([value for value, _ in step_entropies], 0.995)), 1e-3)
    edges = np.linspace(0.0, top, bins + 1)
    series = []
    for name, outcome in _SERIES:
        chosen = np.minimum([value for value, result in step_entropies if result is outcome], top)
        if len(chosen):
            counts, _ = np.histogram(chosen, edges)
            series.append({"name": name, "steps": len(chosen), "shares": [round(float(v), 5) for v in counts / len(chosen)]})
    return {"edges": [round(float(edge), 5) for edge in edges], "series": series} if series else None
