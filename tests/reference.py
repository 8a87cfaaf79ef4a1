"""The folder of the reference data. Tests that need it are skipped, with the reason, where it is absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def reference_data(benchmark: str) -> Path:
    """Return the folder of a benchmark's reference data, or skip the calling test."""
    root = Path(os.environ.get("EMPG_REFERENCE_DATA") or Path(__file__).parents[2] / "shared" / "data")
    folder = root / benchmark
    if not folder.is_dir():
        pytest.skip(f"no reference data at ../shared/data/{benchmark}; set EMPG_REFERENCE_DATA to its parent folder")
    return folder
