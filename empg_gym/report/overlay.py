"""Curves of several training runs: a chart per metric with a line per configuration, and a band where it has several seeds.

Rules:
    - A line is the mean over the seeds, its band their lowest to highest value, both at the steps that all of them have recorded.
    - A configuration has its colour in every chart.
    - Steps are those of reinforcement; a metric of the warm start alone has its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from empg_gym.report.configurations import Configuration
from empg_gym.report.metrics import CHARTS, MAX_POINTS, ChartSpec, matching, short, thin
from empg_gym.report.run_reader import RunReader


def overlay(found: Sequence[Configuration]) -> list[dict[str, Any]]:
    """Return the charts as plain values for the page: first the metrics that `CHARTS` names, then the others."""
    keys = sorted({key for each in found for run in each.runs.values() for line in run.metrics for key in line.values})
    charts: list[dict[str, Any]] = []
    used: set[str] = set()
    for spec in CHARTS:
        matches = [pair for pattern in spec.keys for pair in matching(pattern, keys)]
        for key, name in matches:
            title = spec.title if len(matches) == 1 and "*" not in "".join(spec.keys) else f"{spec.title}, {name}"
            charts.append(_chart(title, key, spec, found, main=True))
        used.update(key for key, _ in matches)
    return charts + [_chart(key, key, ChartSpec(key, (key,)), found, main=False) for key in keys if key not in used]


def _chart(title: str, key: str, spec: ChartSpec, found: Sequence[Configuration], *, main: bool) -> dict[str, Any]:
    series: list[dict[str, Any]] = []
    bands: list[dict[str, Any]] = []
    for position, each in enumerate(found):
        curves = [curve for run in each.runs.values() if (curve := _curve(run, key))]
        steps = sorted(set.intersection(*(set(curve) for curve in curves))) if curves else []
        if not steps:
            continue
        means = [math.fsum(curve[step] for curve in curves) / len(curves) for step in steps]
        if len(curves) > 1:
            kept = steps[:: max(1, math.ceil(len(steps) / MAX_POINTS))]
            low = [short(min(curve[step] for curve in curves)) for step in kept]
            high = [short(max(curve[step] for curve in curves)) for step in kept]
            bands.append({"name": "", "line": len(series), "x": kept, "low": low, "high": high})
        x, y = thin(steps, means)
        series.append({"name": each.name, "tone": position, "x": x, "y": list(map(short, y))})
    return {"title": title, "unit": spec.unit, "about": spec.about, "series": series, "bands": bands, "marks": [], "main": main}


def _curve(run: RunReader, key: str) -> Mapping[int, float]:
    lines = [line for line in run.metrics if key in line.values]
    phase = "rl" if any(line.phase == "rl" for line in lines) else lines[0].phase if lines else ""
    return {line.step: line.values[key] for line in lines if line.phase == phase}
