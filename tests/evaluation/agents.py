"""Agents for the tests of killed and failing runs, and a watcher."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path


class SlowAgent:
    """Solves tasks slowly, and fails in some tasks while a marker file exists."""

    def __init__(self, seconds: float = 0.0, marker: str = "") -> None:
        self.seconds, self.marker = seconds, marker

    async def act(self, messages, *, tools=None):
        await asyncio.sleep(self.seconds)
        doors = [re.findall(r"The note says (\d+)", message["content"]) for message in messages]
        if self.marker and Path(self.marker).exists() and doors[-1] == ["2"]:
            raise RuntimeError("the marker is there")
        return f"<think></think><action>open door {[door for found in doors for door in found][-1]}</action>"


class SaysAgent:
    """Says always the same."""

    def __init__(self, says: str) -> None:
        self.says = says

    def act(self, messages, *, tools=None):
        return f"<action>{self.says}</action>"


class BrokenAgent:
    """Never answers."""

    def __init__(self, **options) -> None:
        pass

    def act(self, messages, *, tools=None):
        raise RuntimeError("no power")


class Watcher:
    """Counts episodes; it lacks the optional `note`."""

    seen = 0

    def begin(self, totals, done):
        pass

    def episode(self, record):
        self.seen += 1

    def end(self):
        pass
