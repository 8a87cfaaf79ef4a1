"""Find phrases that don't belong in plain technical English, in code, comments, messages and docs. Standard library only.

    python scripts/check_english.py             every tracked file
    python scripts/check_english.py FILE …      these files

Prints `file:line: phrase -> replacement` for each find and exits with 1 if there is one.

Rules:
    - `PHRASES` is the only table: a pattern and what to write instead. A space in a pattern also matches a line break and the comment
      mark after it. Patterns ignore case.
    - `ALLOWED` lists the places where a phrase is right, each with its reason. An entry that matches nothing is reported, so that the list
      stays short.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
SUFFIXES = frozenset({".py", ".md", ".toml", ".js", ".jinja", ".html"})
SKIPPED = frozenset({"scripts/check_english.py", "tests/docs/test_check_english.py"})
"""Files that quote the phrases."""

PHRASES = {
    r"(?<!\S)(?!\S*\bthere\b)\S+ (is|are) no (?!longer\b|more\b|fewer\b|less\b|better\b|worse\b|\w+er than\b)\w+": "is not a/an …, lacks …",
    r"\bhas no \w+ that\b": "lacks …",
    r"\bbehind (the (last|first|next|end)|it|them)\b": "after …",
    r"\b(cut|cuts|cutting|stop|stops|ends) behind\b": "after …; at most …",
    r"\b(stand|stands|stood|standing) (in|at|on|under|behind|beside|below|above|between)\b(?! for\b)": "is in/at …, or a real verb",
    r"\bbesides\b": "plus, in addition (to)",
    r"\b(go|goes|going|gone|went) on\b": "continue, resume",
    r"\banew\b": "again, from scratch",
    r"\b(is|are|was|were|be|been) told\b": "is notified, is given; or say who reports it",
    r"\bmend(s|ed|ing)?\b": "fix",
    r"\bon the processors?\b": "on the CPU",
    r"\b(updates|steps|times|turns|episodes|evaluations) running\b(?! (in|on|at)\b)": "N consecutive …",
    r"\b(give|gives|gave|given|giving) back\b": "the exact verb: returns, restores",
    r"\b(come|comes|came|become|becomes|became) of (it|them|this|that|these|each|the|a)\b": "the result of …",
    r"\b(is|are) welcome\b": "is accepted",
    r"\bmakes? of\b": "the exact verb: builds, returns",
    r"\b(takes?|accepts?) (what|whatever)\b": "accepts …, with a noun",
    r"\bfurther runs of\b": "retries",
    r"\bkeeps? its (word|promise)\b": "guarantees",
    r"\bin all that\b": "unless …; in everything else",
    r"\bwhere nobody says\b": "by default",
    r"\bwhoever\b": "anyone who; the user",
    r"\bno one (else )?than\b": "only",
}
"""Pattern to what to write instead."""

ALLOWED: dict[str, tuple[tuple[str, str], ...]] = {
    "empg_gym/dialogue/formats.py": (("it has no line that begins", "corrective message of the episode"),),
    "empg_gym/net/guard.py": (("this is no address of a page", "observation of a visit"),),
    "empg_gym/retrieval/remote.py": (
        ("the retrieval server's answer is no JSON", "observation of a search"),
        ("holds something that is no passage", "observation of a search"),
    ),
    "envs/alfworld/env.py": (("while you carry it and stand at the", "rules shown to agents"),),
    "envs/deepsearch/web/search.py": (("answer is no JSON", "observation of a search"),),
    "envs/deepsearch/web/visit.py": (("something that is no address", "observation of a visit"),),
    "envs/deepsearch/protocols/asearcher.py": (
        ("stand in the search results", "system prompt of the episode"),
        ("stands between", "the same prompt"),
    ),
}
"""File to (words at the find, why they stay)."""


class Find(NamedTuple):
    """A phrase in a file."""

    line: int
    start: int
    text: str
    replacement: str


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern.replace(" ", r"(?:[ \t]+|[ \t]*\n[ \t]*(?:(?:#|//|\*)[ \t]*)?)"), re.IGNORECASE)


_PATTERNS = {_compiled(pattern): replacement for pattern, replacement in PHRASES.items()}


def finds(text: str) -> list[Find]:
    """Return the phrases in `text`, by position."""
    found = [
        Find(text.count("\n", 0, match.start()) + 1, match.start(), " ".join(match.group().split()), replacement)
        for pattern, replacement in _PATTERNS.items()
        for match in pattern.finditer(text)
    ]
    return sorted(found, key=lambda find: find.start)


def _allowed(text: str, find: Find, words: str) -> bool:
    around = text[max(0, find.start - len(words)) : find.start + len(find.text) + len(words)]
    return words in " ".join(around.split())


def check(name: str, text: str) -> Iterator[str]:
    """Yield a message for each phrase in a file, and for each entry of `ALLOWED` that it no longer needs."""
    allowed = ALLOWED.get(name, ())
    used: set[str] = set()
    for find in finds(text):
        reasons = [words for words, _ in allowed if _allowed(text, find, words)]
        used.update(reasons)
        if not reasons:
            yield f"{name}:{find.line}: {find.text!r} -> {find.replacement}"
    for words, _ in allowed:
        if words not in used:
            yield f"{name}: {words!r} is in ALLOWED of scripts/check_english.py but not in the file; remove the entry"


def tracked() -> list[str]:
    """Return the tracked files with prose in them, links left out."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return [name for name in listed if Path(name).suffix in SUFFIXES and name not in SKIPPED and not (ROOT / name).is_symlink()]


def main(arguments: list[str]) -> int:
    """Check the files named, or every tracked one."""
    names = [str(Path(name).resolve().relative_to(ROOT)) for name in arguments] or tracked()
    messages = [message for name in names for message in check(name, (ROOT / name).read_text(encoding="utf-8"))]
    print("\n".join(messages) or f"{len(names)} files: no phrase of the list")
    return 1 if messages else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
