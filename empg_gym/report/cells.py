"""Values of `summary.json` and configurations as text: whatever JSON holds becomes a cell."""

from __future__ import annotations

import math
from typing import Any

from empg_gym.scoring.format import MISSING, percent

_RATES = ("success_rate", "success", "valid_action", "clip_share", "pass_at", "pass@", "_share", "_rate", "rate")


def text(value: Any, key: str = "") -> str:
    """Return a value for a table; rates and shares in percent."""
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        if isinstance(value, float) and not math.isfinite(value):
            return MISSING
        if _is_rate(key) and 0 <= value <= 1:
            return percent(value)
        return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
    if isinstance(value, list):
        if len(value) == 2 and all(isinstance(item, (int, float)) for item in value):
            return f"{text(value[0], key)} to {text(value[1], key)}"
        return ", ".join(text(item) for item in value) or MISSING
    return str(value) if not isinstance(value, dict) else MISSING


def label(name: str) -> str:
    """Return a key as words."""
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def short_env(name: str) -> str:
    """Return an environment's id without its namespace and version."""
    return name.removeprefix("EMPG/").removesuffix("-v0")


def number(value: object) -> float | None:
    """Return a finite number; None for anything else."""
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) else None


def _is_rate(key: str) -> bool:
    return key.startswith(("success", "pass_at", "pass@")) or key.endswith(_RATES)
