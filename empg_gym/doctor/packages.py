"""Check the packages of the core and of each extra."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from typing import NamedTuple

from empg_gym.doctor import Finding, Status

_REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*([^;]*?)\s*(?:;\s*(.*))?$")
_EXTRA = re.compile(r"extra\s*==\s*['\"]([^'\"]+)['\"]")
# Extras that are not listed are for developers.
_PURPOSES = {
    "train": "the bundled trainer and checkpoint agents",
    "textworld": "ALFWorld on the TextWorld engine",
    "browser": "WebShop in a browser",
    "serve": "the retrieval server",
    "vllm": "a vLLM server for openai: agents",
    "lora": "training adapters (LoRA)",
    "bitsandbytes": "8-bit optimizer states",
    "spacy": "WebShop's original part-of-speech tagger",
    "search": "the bm25s and tantivy search backends",
    "parquet": "question files and exports in parquet",
    "wandb": "the logger wandb",
    "trackio": "the logger trackio",
    "docs": "building the documentation",
}


class Requirement(NamedTuple):
    """A package with its supported versions."""

    name: str
    specifier: str
    extra: str
    """Empty for the core."""


def requirements(lines: Sequence[str]) -> list[Requirement]:
    """Parse requirements in the form of package metadata, without the package's references to its own extras."""
    found = []
    for line in lines:
        match = _REQUIREMENT.match(line.strip())
        if match is None or match.group(1).lower() == "empg-gym":
            continue
        extra = _EXTRA.search(match.group(3) or "")
        found.append(Requirement(match.group(1), match.group(2).strip("() "), extra.group(1) if extra else ""))
    return found


def installed(requirement: Requirement) -> str | None:
    """Return the installed version of a package, or None."""
    try:
        return version(requirement.name)
    except PackageNotFoundError:
        return None


def problem(requirement: Requirement) -> str | None:
    """Return the problem of a package, or None if a supported version is installed."""
    have = installed(requirement)
    if have is None:
        return f"{requirement.name} is not installed"
    if not satisfies(have, requirement.specifier):
        return f"{requirement.name} is {have}, but {requirement.specifier} is needed"
    return None


def satisfies(have: str, specifier: str) -> bool:
    """Return whether a version satisfies bounds such as ">=1.2,<2", considering only its numbers."""
    for bound in filter(None, (part.strip() for part in specifier.split(","))):
        match = re.match(r"(>=|<=|==|!=|~=|<|>)\s*([0-9.]+)", bound)
        if match is None:
            continue
        left, right = _numbers(have), _numbers(match.group(2))
        width = max(len(left), len(right))
        left, right = left + (0,) * (width - len(left)), right + (0,) * (width - len(right))
        fits = {">=": left >= right, "~=": left >= right, "<=": left <= right, "==": left == right, "!=": left != right}
        if not {**fits, "<": left < right, ">": left > right}[match.group(1)]:
            return False
    return True


def _numbers(text: str) -> tuple[int, ...]:
    numbers = []
    for part in text.split("+")[0].split("."):
        digits = re.match(r"\d+", part)
        if digits is None:
            break
        numbers.append(int(digits.group()))
    return tuple(numbers)


def examine(lines: Sequence[str] | None = None) -> Iterator[Finding]:
    """Yield a finding for the core and one for each extra."""
    if lines is None:
        try:
            lines = requires("empg-gym") or ()
        except PackageNotFoundError:
            detail = "empg-gym runs from a folder without being installed, so its packages can't be checked"
            yield Finding("packages", "empg-gym", "broken", detail, "pip install -e .", required=True)
            return
    wanted = requirements(lines)
    yield _group("core", "everything", [each for each in wanted if not each.extra], required=True)
    extras = dict.fromkeys(each.extra for each in wanted if each.extra in _PURPOSES)
    for extra in extras:
        yield _group(extra, _PURPOSES[extra], [each for each in wanted if each.extra == extra], required=False)


def _group(name: str, purpose: str, wanted: Sequence[Requirement], *, required: bool) -> Finding:
    problems = list(filter(None, map(problem, wanted)))
    target = "empg-gym" if required else f"'empg-gym[{name}]'"
    if not problems:
        listed = ", ".join(f"{each.name} {version(each.name)}" for each in wanted)
        return Finding("packages", name, "ok", listed, required=required)
    # A package of the wrong version is broken; a missing one may be omitted on purpose.
    broken = required or any(problem(each) and installed(each) for each in wanted)
    status: Status = "broken" if broken else "missing"
    return Finding("packages", name, status, f"{'; '.join(problems)} (for {purpose})", f"pip install -U {target}", required=required)
