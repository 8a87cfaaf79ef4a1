"""Numbers of learning curves."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise


def area_under_curve(points: Sequence[tuple[float, float]]) -> float:
    """Return the mean height of a curve: its area by the trapezoidal rule, divided by its width.

    Args:
        points: (step, value), at least one, with increasing steps. A single point has the height of its value.
    """
    width = points[-1][0] - points[0][0]
    if width <= 0:
        return points[-1][1]
    pairs = pairwise(points)
    return sum((right[0] - left[0]) * (left[1] + right[1]) / 2 for left, right in pairs) / width
