"""The page of a study: one HTML file that loads nothing and runs no script, in the style of the reports."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from empg_gym.runs.atomic_write import atomic_write
from empg_gym.scoring.format import MISSING, duration, with_interval
from empg_gym.study.chart import WIDTH, Series, dot_chart, line_chart, line_style
from empg_gym.study.results import CURVES, EnvironmentResult, Estimate, MethodResult, StudyResult

PAGE = "study.html"


def write_page(result: StudyResult, folder: Path) -> Path:
    """Write the page to the folder of the study and return its path."""
    path = folder / PAGE
    atomic_write(path, page(result))
    return path


def page(result: StudyResult) -> str:
    """Return the page."""
    loader = jinja2.PackageLoader("empg_gym.study", "assets")
    templates = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    style = files("empg_gym.report.assets").joinpath("report.css").read_text(encoding="utf-8")
    return templates.get_template("study.jinja").render(
        result=result,
        style=Markup(style),
        width=WIDTH,
        environments=[_environment(one, result.reference) for one in result.environments],
    )


def _environment(one: EnvironmentResult, reference: str) -> dict[str, Any]:
    shown = [(place, method) for place, method in enumerate(one.methods) if method.seeds]
    charts = []
    for metric, title in {**{f"eval/{split}/success": f"success on {split}" for split in one.splits}, **CURVES}.items():
        series = [Series(method.method, method.curves[metric], place) for place, method in shown if metric in method.curves]
        if series:
            charts.append((title, line_chart(title, series, percent=metric.endswith(("success", "valid_action")))))
    differences = [
        (split, rows)
        for split in one.splits
        if (rows := [(method.method, place, method.difference[split]) for place, method in shown if split in method.difference])
    ]
    return {
        "name": one.environment,
        "splits": [(split, one.tasks[split], one.panels.get(split)) for split in one.splits],
        "weights": sorted(one.start_weights.items()),
        "legend": [(method.method, line_style(place)) for place, method in shown],
        "rows": [_row(method, one.splits, reference) for method in one.methods],
        "charts": charts,
        "differences": [
            (split, dot_chart([(name, place, item.mean, item.interval, list(item.values.values())) for name, place, item in rows]))
            for split, rows in differences
        ],
    }


def _row(method: MethodResult, splits: Sequence[str], reference: str) -> dict[str, Any]:
    return {
        "method": method.method,
        "seeds": len(method.seeds),
        "splits": [
            (
                _shown(method.before.get(split)),
                _shown(method.after.get(split)),
                "reference" if method.method == reference else _shown(method.difference.get(split)),
            )
            for split in splits
        ],
        "area": _shown(method.area),
        "area_difference": "reference" if method.method == reference else _shown(method.area_difference),
        "steps": _steps(method),
        "late_drop": _shown(method.late_drop),
        "kl_max": MISSING if method.kl_max is None else f"{method.kl_max.mean:.2g}",
        "cpu": MISSING if method.cpu_seconds is None else duration(method.cpu_seconds.mean),
    }


def _shown(estimate: Estimate | None) -> str:
    """Return a number with its interval, marked where the interval says nothing about other seeds."""
    if estimate is None:
        return MISSING
    return with_interval(estimate.mean, estimate.interval) + ("" if estimate.unit == "seeds" else f" over {estimate.unit}")


def _steps(method: MethodResult) -> str:
    """Return the median over seeds of the steps to the threshold, with the number of seeds that reached it."""
    values = list(method.steps_to_threshold.values())
    reached = [value for value in values if value is not None]
    if not reached:
        return MISSING
    return f"{statistics.median(reached):g} ({len(reached)} of {len(values)})"
