"""What the sections of docs/results.md share: reading result files, tables and numbers as text."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from empg_gym.scoring.intervals import mean, mean_interval

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
Json = dict[str, Any]


def load(name: str) -> Json:
    """Return a result file."""
    record: Json = json.loads((RESULTS / f"{name}.json").read_text())
    return record


def measured(name: str) -> bool:
    """Return whether there is a result file."""
    return (RESULTS / f"{name}.json").is_file()


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a Markdown table."""
    head = list(head)
    lines = [head, ["---"] * len(head), *[[str(cell) for cell in row] for row in rows]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def percent(value: float) -> str:
    """Return a share as percent."""
    return f"{100 * value:.1f} %"


def number(value: float) -> str:
    """Return a number as text: whole and grouped if large, else with three digits."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def machine(record: Json) -> str:
    """Return the machine of a result file in one sentence."""
    of = record["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in of["packages"].items())
    return f"Measured on {of['cpu']}, {of['cores']} cores, Python {of['python']}{f' ({packages})' if packages else ''}."


def over_seeds(seeds: list[int]) -> str:
    """Return the seeds, and what a cell of the table is."""
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}; mean over seeds ± half of the 95 % interval"


def mean_over(values: list[float]) -> Json:
    """Return the mean over seeds and half of its 95 % interval, for `spread`."""
    bounds = mean_interval([[value] for value in values])
    return {"mean": mean([values]), "half_width_95": None if bounds is None else (bounds.high - bounds.low) / 2}


def points(difference: float, interval: list[float]) -> str:
    """Return a difference of shares in points, with its interval."""
    return f"{100 * difference:+.1f} ({100 * interval[0]:+.1f} to {100 * interval[1]:+.1f})"


def spread(values: Json, scale: float) -> str:
    """Return mean ± half width."""
    half = values["half_width_95"]
    return f"{scale * values['mean']:.1f}" + ("" if half is None else f" ± {scale * half:.1f}")
