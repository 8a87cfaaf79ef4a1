"""`empg-gym doctor`: check an installation and print a fix for each problem.

A finding is `ok`, `missing` (something optional is not installed) or `broken` (something required or installed does not work). Every
finding that is not `ok` has a fix. The command fails if a `required` finding is broken.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "examine"]

Status = Literal["ok", "missing", "broken"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A line of the report."""

    group: str
    name: str
    status: Status
    detail: str
    """Description of the state or the problem."""
    fix: str = ""
    """Command to run, or what to do; empty if `status` is ok."""
    required: bool = False

    def __post_init__(self) -> None:
        if self.status != "ok" and not self.fix:
            raise ValueError(f"the finding {self.name!r} is {self.status} but has no fix")


def examine() -> Iterator[Finding]:
    """Yield the findings, quick ones first."""
    from empg_gym.doctor import data, machine, packages

    yield machine.python()
    yield from packages.examine()
    yield from machine.examine()
    yield from data.examine()
