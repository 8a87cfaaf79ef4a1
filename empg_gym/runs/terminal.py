"""What is shown on a terminal: texts of servers, models, web pages and foreign files can't control it, and hold no secrets."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import rich.console
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment

from empg_gym.runs.redaction import Redactor

# Control characters but line feed and tab, and marks that reverse or hide what follows (CVE-2021-42574).
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029]")


def printable(text: str) -> str:
    """Return a text whose control characters are written out: `\\x1b[2J` instead of clearing the screen."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}" if found[0] < "\u0100" else f"\\u{ord(found[0]):04x}", text)


class Console(rich.console.Console):
    """Rich's console, whose output is printable whatever it is given: only styles of rich itself control the terminal."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as rich does; texts lose their secrets."""
        redactor = Redactor()
        super().print(*(redactor.text(item) if isinstance(item, str) else item for item in objects), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield segments without control characters in their texts."""
        for segment in super().render(renderable, options):
            if segment.control or not _CONTROL.search(segment.text):
                yield segment
            else:
                yield Segment(printable(segment.text), segment.style)
