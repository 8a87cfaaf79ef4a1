"""Shared by the conformance tests of WebShop: the reference folder and a cache for the session."""

from __future__ import annotations

import gzip
import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from tests.reference import reference_data


def reference() -> Path:
    """Return the folder of the reference data, or skip the calling test."""
    return reference_data("webshop")


@lru_cache(maxsize=8)
def golden(kind: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return (prices and goals, episodes) of upstream's run with this kind of goals."""
    folder = reference() / "golden_upstream"
    with gzip.open(folder / f"{kind}_1k_seed0.goals.json.gz", "rt", encoding="utf-8") as file:
        goals = json.load(file)
    with gzip.open(folder / f"{kind}_1k_seed0.episodes.jsonl.gz", "rt", encoding="utf-8") as file:
        return goals, [json.loads(line) for line in file]


@pytest.fixture(scope="session")
def webshop_cache(tmp_path_factory):
    """Keep stores in a temporary folder for the session."""
    before = os.environ.get("EMPG_GYM_CACHE")
    os.environ["EMPG_GYM_CACHE"] = str(tmp_path_factory.mktemp("webshop-cache"))
    yield
    if before is None:
        del os.environ["EMPG_GYM_CACHE"]
    else:
        os.environ["EMPG_GYM_CACHE"] = before
