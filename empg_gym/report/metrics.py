"""Read `metrics.jsonl` and lay its values out as charts.

Rules:
    - A line is one JSON object with `phase`, `step`, `seconds` and flat numeric keys; keys that no chart names get their own chart,
      so that everything a trainer writes is visible.
    - A chart of one phase counts that phase's own steps; where several share a chart, each is drawn after the one before it, with
      a mark at its beginning.
    - If a step was written twice (a resumed run), the last line counts.
    - A last line without a line break was left by a running or killed writer: it is skipped.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from empg_gym.errors import DataError

MAX_POINTS = 1200
"""Longer curves are thinned: of neighbouring points, the smallest and the largest are kept."""
_MARKS = frozenset({"phase", "step", "seconds"})


@dataclass(frozen=True, slots=True)
class Line:
    """One line of metrics."""

    phase: str
    step: int
    seconds: float | None
    values: dict[str, float]


@dataclass(frozen=True, slots=True)
class ChartSpec:
    """Which keys share a chart.

    A key that ends in `/*` or holds `/*/` takes every key of that form; the part that the star matches names the curve.
    """

    title: str
    keys: tuple[str, ...]
    unit: str = ""
    about: str = ""
    band: tuple[str, str] | None = None
    """Keys of the lower and the upper edge of a shaded band."""
    band_name: str = ""


CHARTS: tuple[ChartSpec, ...] = (
    ChartSpec("Success", ("eval/*/success", "train/success"), "%", "Share of episodes that solved their task."),
    ChartSpec("Score", ("eval/*/score", "train/score"), "", "Mean score of the benchmark, 0 to 1."),
    ChartSpec(
        "Step entropy",
        ("entropy/step_mean", "entropy/step_q50"),
        "nats",
        "Mean entropy of the tokens of a step: how uncertain the policy was.",
        ("entropy/step_q10", "entropy/step_q90"),
        "10 % to 90 % of steps",
    ),
    ChartSpec(
        "EMPG scaling",
        ("empg/scaling_mean",),
        "",
        "Factor on a step's advantage: above 1 for confident steps, below 1 for uncertain ones.",
        ("empg/scaling_min", "empg/scaling_max"),
        "smallest to largest",
    ),
    ChartSpec("EMPG bonus", ("empg/bonus_mean",), "", "Future-clarity bonus, mean over steps."),
    ChartSpec("EMPG sign flips", ("empg/sign_flips",), "%", "Share of steps whose advantage changed its sign."),
    ChartSpec("Policy loss", ("loss/policy",)),
    ChartSpec("Clip share", ("loss/clip_share",), "%", "Share of tokens at the clipping bound."),
    ChartSpec("KL to the old policy", ("loss/kl_old",), "nats"),
    ChartSpec("KL to the reference policy", ("loss/kl_reference",), "nats", "Divergence from the policy at the start of reinforcement."),
    ChartSpec("Gradient norm", ("loss/grad_norm",)),
    ChartSpec("Valid actions", ("train/valid_action",), "%", "Share of actions that the environment could carry out."),
    ChartSpec("Throughput", ("speed/tokens_per_s",), "tokens/s"),
    ChartSpec("Time of a step", ("speed/rollout_s", "speed/env_s", "speed/update_s"), "s"),
    ChartSpec("Warm start: loss", ("warmstart/loss",), "nats"),
)


_NAMES = {
    "train/success": "training tasks",
    "train/score": "training tasks",
    "entropy/step_mean": "mean",
    "entropy/step_q50": "median",
    "empg/scaling_mean": "mean",
    "speed/rollout_s": "rollout",
    "speed/env_s": "environment",
    "speed/update_s": "update",
}


def read_metrics(path: Path) -> list[Line]:
    """Return the lines of a metrics file; an empty list if the file does not exist yet.

    Raises:
        DataError: a complete line is not a JSON object (the error names the line).
    """
    if not path.is_file():
        return []
    lines: list[Line] = []
    with path.open("rb") as source:
        for number, raw in enumerate(source, 1):
            if not raw.endswith(b"\n"):
                break
            if not raw.strip():
                continue
            try:
                record = json.loads(raw)
            except ValueError as error:
                raise DataError(f"{path}, line {number}: expected a JSON object of metrics, the line can't be read ({error})") from None
            if not isinstance(record, dict):
                raise DataError(f"{path}, line {number}: expected a JSON object of metrics, not {type(record).__name__}")
            lines.append(_line(record))
    return lines


def _line(record: dict[str, Any]) -> Line:
    numbers = {key: _number(value) for key, value in record.items()}
    return Line(
        phase=str(record.get("phase", "")),
        step=int(numbers.get("step") or 0),
        seconds=numbers.get("seconds"),
        values={key: value for key, value in numbers.items() if value is not None and key not in _MARKS},
    )


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def layout(lines: Iterable[Line]) -> list[dict[str, Any]]:
    """Return the charts as plain values for the page: those of `CHARTS` that have data, then one for each other key."""
    lines = list(lines)
    starts = _starts(lines)
    keys = sorted({key for line in lines for key in line.values})
    charts: list[dict[str, Any]] = []
    used: set[str] = set()
    for spec in CHARTS:
        matches = [pair for pattern in spec.keys for pair in matching(pattern, keys)]
        band = spec.band if spec.band and all(edge in keys for edge in spec.band) else None
        used.update(key for key, _ in matches)
        used.update(band or ())
        if matches or band:
            charts.append(_chart(spec, matches, band, lines, starts))
    charts.extend(_chart(ChartSpec(key, (key,)), [(key, key)], None, lines, starts) for key in keys if key not in used)
    return charts


def _starts(lines: list[Line]) -> dict[str, int]:
    """Return where each phase begins on a common axis."""
    starts: dict[str, int] = {}
    furthest = 0
    for line in lines:
        starts.setdefault(line.phase, furthest)
        furthest = max(furthest, starts[line.phase] + line.step)
    return starts


def matching(pattern: str, keys: list[str]) -> list[tuple[str, str]]:
    """Return the keys that match a pattern, each with the name of its curve."""
    if "*" not in pattern:
        name = _NAMES.get(pattern, pattern.rsplit("/", 1)[-1].replace("_", " "))
        return [(pattern, name)] if pattern in keys else []
    head, tail = pattern.split("*", 1)
    return [(key, key[len(head) : len(key) - len(tail)]) for key in keys if key.startswith(head) and key.endswith(tail)]


def _chart(
    spec: ChartSpec, matches: list[tuple[str, str]], band: tuple[str, str] | None, lines: list[Line], starts: dict[str, int]
) -> dict[str, Any]:
    shown = {key for key, _ in matches} | set(band or ())
    phases = {line.phase for line in lines if shown & line.values.keys()}
    offsets = starts if len(phases) > 1 else dict.fromkeys(starts, 0)

    def curve(key: str) -> tuple[list[int], list[float]]:
        points = {offsets[line.phase] + line.step: line.values[key] for line in lines if key in line.values}
        x = sorted(points)
        return x, [points[step] for step in x]

    alone = len(matches) == 1 and "*" not in "".join(spec.keys)
    series = []
    for key, name in matches:
        x, y = thin(*curve(key))
        series.append({"name": spec.title if alone else name, "x": x, "y": list(map(short, y))})
    bands = []
    if band is not None:
        low, high = (dict(zip(*curve(edge), strict=True)) for edge in band)
        x = sorted(low.keys() & high.keys())
        x = x[:: max(1, math.ceil(len(x) / MAX_POINTS))]
        edges = {"low": [short(low[step]) for step in x], "high": [short(high[step]) for step in x]}
        bands.append({"name": spec.band_name, "line": 0, "x": x, **edges})
    marks = [{"x": starts[phase], "phase": phase} for phase in starts if len(phases) > 1 and phase in phases and starts[phase] > 0]
    return {
        "title": spec.title,
        "unit": spec.unit,
        "about": spec.about,
        "series": series,
        "bands": bands,
        "marks": marks,
        "main": spec in CHARTS,
    }


def thin(x: list[int], y: list[float]) -> tuple[list[int], list[float]]:
    """Return about `MAX_POINTS` points at most, including the ends and the extremes of the curve."""
    if len(x) <= MAX_POINTS:
        return x, y
    size = math.ceil(2 * len(x) / MAX_POINTS)
    kept = {0, len(x) - 1}
    for start in range(0, len(x), size):
        bucket = range(start, min(start + size, len(x)))
        kept.add(min(bucket, key=lambda i: y[i]))
        kept.add(max(bucket, key=lambda i: y[i]))
    chosen = sorted(kept)
    return [x[i] for i in chosen], [y[i] for i in chosen]


def short(value: float) -> float:
    """Return a value with five significant digits, more than a chart shows."""
    rounded = float(f"{value:.5g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded
