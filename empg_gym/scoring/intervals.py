"""Means, shares and differences with their 95 % intervals.

Rules:
    - The unit is the task: repeats of a task are not independent evidence, so every interval treats tasks as clusters.
    - A share of successes has Wilson's score interval (Wilson 1927). With repeats its sample size is the effective one, p(1-p) over the
      cluster variance of p (Korn & Graubard 1998), between the number of tasks, if repeats always agree, and the number of episodes.
    - A mean has Student's t interval with the cluster variance of the ratio estimator (Cochran 1977, section 2.11). A mean within 0..1
      is clipped to that range; where all tasks agree, the t interval has no width and Wilson's interval at that mean replaces it.
    - A difference of paired tasks has a t interval after adding one task with difference +1 and one with -1: Bonett & Price (2012)
      showed for binary results that this keeps the coverage for small samples and where no pair differs.
    - Intervals are deterministic: they draw no random numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

Z = 1.959963984540054
"""Two-sided 95 % quantile of the normal distribution."""
_LEVEL = 0.95
_MANY = 400


class Interval(NamedTuple):
    """A 95 % interval."""

    low: float
    high: float


@lru_cache(maxsize=512)
def t_quantile(freedom: int) -> float:
    """Return the two-sided 95 % quantile of Student's t with `freedom` degrees of freedom (Abramowitz & Stegun 26.7.3, 26.7.4)."""
    if freedom > _MANY:
        return Z + (Z**3 + Z) / (4 * freedom) + (5 * Z**5 + 16 * Z**3 + 3 * Z) / (96 * freedom**2)
    low, high = 1.0, 20.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < _LEVEL else (low, middle)
    return high


def _within(t: float, freedom: int) -> float:
    """Return the probability of |T| <= t."""
    angle = math.atan(t / math.sqrt(freedom))
    sine, squared = math.sin(angle), math.cos(angle) ** 2
    odd = freedom % 2 == 1
    term = math.cos(angle) if odd else 1.0
    total = 0.0
    for index in range(1, (freedom - 1) // 2 + 1 if odd else freedom // 2 + 1):
        total += term
        term *= squared * (2 * index / (2 * index + 1) if odd else (2 * index - 1) / (2 * index))
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


def wilson(share: float, number: float) -> Interval:
    """Return Wilson's interval of a share observed in `number` trials, which may be fractional (an effective sample size)."""
    if number <= 0:
        return Interval(0.0, 1.0)
    scale = 1 + Z * Z / number
    centre = (share + Z * Z / (2 * number)) / scale
    half = Z / scale * math.sqrt(share * (1 - share) / number + Z * Z / (4 * number * number))
    return Interval(max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share)))


def mean(clusters: Sequence[Sequence[float]]) -> float:
    """Return the mean over all values."""
    return math.fsum(value for cluster in clusters for value in cluster) / sum(len(cluster) for cluster in clusters)


def _variance(clusters: Sequence[Sequence[float]]) -> float:
    """Return the variance of `mean` with clusters as units, of which there are at least two."""
    centre, units = mean(clusters), len(clusters)
    size = sum(len(cluster) for cluster in clusters)
    residuals = math.fsum((math.fsum(cluster) - len(cluster) * centre) ** 2 for cluster in clusters)
    return units / (units - 1) * residuals / size**2


def share_interval(clusters: Sequence[Sequence[bool]]) -> Interval:
    """Return the interval of a share; at least one inner sequence, one per task and none of them empty."""
    episodes = sum(len(cluster) for cluster in clusters)
    share = mean([[float(value) for value in cluster] for cluster in clusters])
    if episodes == len(clusters):
        return wilson(share, episodes)
    if share in (0.0, 1.0) or len(clusters) < 2:
        return wilson(share, len(clusters))
    variance = _variance([[float(value) for value in cluster] for cluster in clusters])
    effective = share * (1 - share) / variance if variance > 0 else episodes
    return wilson(share, min(effective, episodes))


def mean_interval(clusters: Sequence[Sequence[float]], *, unit: bool = False) -> Interval | None:
    """Return the interval of a mean.

    Args:
        clusters: values of each task, at least one task and one value per task.
        unit: the values are within 0..1.

    Returns:
        the interval; None where a single task leaves an unbounded mean unknown.
    """
    centre = mean(clusters)
    if len(clusters) < 2:
        return Interval(0.0, 1.0) if unit else None
    variance = _variance(clusters)
    if unit and variance < 1e-18:
        return wilson(min(max(centre, 0.0), 1.0), len(clusters))
    half = t_quantile(len(clusters) - 1) * math.sqrt(variance)
    return Interval(max(0.0, centre - half), min(1.0, centre + half)) if unit else Interval(centre - half, centre + half)


def difference_interval(differences: Sequence[float]) -> Interval:
    """Return the interval of the mean of paired differences, one per task, each within -1..1."""
    padded = [[1.0], [-1.0], *([value] for value in differences)]
    half = t_quantile(len(padded) - 1) * math.sqrt(_variance(padded))
    centre = mean(padded)
    return Interval(max(-1.0, centre - half), min(1.0, centre + half))


def pass_at_k(episodes: int, successes: int, k: int) -> float:
    """Return the unbiased estimate of the chance that one of k tries succeeds: 1 - C(n-c, k) / C(n, k) (Chen et al. 2021, equation 1).

    `episodes` is at least `k`.
    """
    return 1.0 - math.comb(episodes - successes, k) / math.comb(episodes, k)
