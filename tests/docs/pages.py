"""The pages of the documentation, and the shell script that runs what a page shows.

Rules:
    - All code is in fences. `bash` and `python` are run, `text` is only shown (a formula, an output); other kinds and indented blocks are
      errors.
    - Blocks run in order in one folder, a copy of the project, as they would for a reader in a clone.
    - Python blocks of a page share their variables; those without a shell command between them run in one process.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
ADAPTERS = ROOT / "docs" / "adapters"
"""Pages of other frameworks, whose blocks `tests/adapters` runs where the framework is installed."""
SERVING = ROOT / "docs" / "serve.md"
"""Page whose blocks `tests/openenv` runs, where OpenEnv is installed."""
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
RUN, SHOWN = ("bash", "python"), ("text",)
_FENCE = re.compile(r"^(`{3,}|~{3,})(.*)$")


class Block(NamedTuple):
    """A fenced block."""

    language: str
    code: str


def blocks(text: str) -> list[Block]:
    """Return the blocks of a page.

    Raises:
        ValueError: code is not fenced, or a fence is neither run nor shown.
    """
    found: list[Block] = []
    lines = iter(enumerate(text.splitlines(), 1))
    blank = True
    for number, line in lines:
        fence = _FENCE.match(line.strip())
        if fence is not None:
            language = fence[2].strip()
            if language not in (*RUN, *SHOWN) or line != line.strip():
                raise ValueError(f"line {number}: {line!r} is not a fence of {RUN + SHOWN} at the beginning of the line")
            found.append(Block(language, "".join(f"{inner}\n" for inner in _until(lines, fence[1], number))))
        elif blank and re.match(r" {4}|\t", line):
            raise ValueError(f"line {number}: an indented block; fence it, so that it is run")
        blank = not line.strip()
    return found


def script(page_blocks: list[Block]) -> str:
    """Return a shell script that runs the blocks; it stops at the first command that fails."""
    parts = ["set -euo pipefail"]
    python_so_far = ""
    running = (block for block in page_blocks if block.language in RUN)
    for number, (language, group) in enumerate(itertools.groupby(running, lambda block: block.language), 1):
        code = "".join(block.code for block in group)
        if language == "bash":
            parts.append(code)
        else:
            python_so_far += code
            parts.append(f"cat > block{number}.py <<'END_OF_BLOCK'\n{python_so_far}END_OF_BLOCK\npython block{number}.py")
    return "\n".join(parts)


def _until(lines: Iterator[tuple[int, str]], end: str, opened: int) -> Iterator[str]:
    for _, line in lines:
        if line == end:
            return
        yield line
    raise ValueError(f"line {opened}: the fence is never closed")
