"""The result of an evaluation, as `summary.json` holds it."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import empg_gym
from empg_gym.scoring.record import EpisodeRecord
from empg_gym.trajectory import Trajectory

_PACKAGES = ("gymnasium", "numpy", "httpx")


@dataclass(frozen=True, slots=True)
class Summary:
    """The numbers of an evaluation; `data` is the content of `summary.json`."""

    data: dict[str, Any]
    records: tuple[EpisodeRecord, ...] = field(default=(), repr=False)

    @property
    def results(self) -> dict[str, dict[str, Any]]:
        """Environment to its numbers: `results["EMPG/ALFWorld-v0"]["success_rate"]`."""
        results: dict[str, dict[str, Any]] = self.data["results"]
        return results

    @property
    def errors(self) -> int:
        """Episodes that failed by an error, over all environments."""
        return sum(int(entry["errors"]) for entry in self.results.values())


def entry_key(trajectory: Trajectory, entries: Container[str]) -> str:
    """Return the key of the trajectory's environment: "id@split" where the run has such an entry, else the id."""
    both = f"{trajectory.env_id}@{trajectory.split}"
    return both if both in entries else trajectory.env_id


def merge(facts: Mapping[str, Any], numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Return one environment's entry: its numbers first, then what they were measured on."""
    return {**numbers, **{name: value for name, value in facts.items() if name not in numbers}}


def versions() -> dict[str, str]:
    """Return the versions of the package, of Python and of the packages that an evaluation depends on."""
    found = {"empg_gym": empg_gym.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
