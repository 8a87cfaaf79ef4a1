"""`empg-gym doctor`: what is there, what is missing, and the command that brings it.

A finding is `ok`; or `missing`: something optional that is not there; or `broken`: something that does not work although it is needed, or
although it is there. Every finding that is not `ok` names its fix. `required` findings that are broken fail the command.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "examine"]

Status = Literal["ok", "missing", "broken"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's report."""

    group: str
    name: str
    status: Status
    detail: str
    """What was found, or what is wrong."""
    fix: str = ""
    """The command to run, or what to do; empty where all is well."""
    required: bool = False

    def __post_init__(self) -> None:
        if self.status != "ok" and not self.fix:
            raise ValueError(f"the finding {self.name!r} is {self.status} and names no fix")


def examine() -> Iterator[Finding]:
    """Yield the findings, quick ones first."""
    from empg_gym.doctor import data, machine, packages

    yield machine.python()
    yield from packages.examine()
    yield from machine.examine()
    yield from data.examine()
