"""Options of the evaluation's command line that have a grammar: `--set`, `--tasks`, `--prices`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from empg_gym.errors import ConfigError, DataError, nearest
from empg_gym.runs.overrides import apply_overrides, parse_override
from empg_gym.scoring.prices import PRICES_EXPECTED, Prices

_SECTIONS = ("env", "agent", "limits", "backend")


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """The `--set` options by section."""

    env: dict[str, Any]
    agent: dict[str, Any]
    limits: dict[str, Any]
    backend: dict[str, Any]


def read_settings(texts: Iterable[str]) -> Settings:
    """Read `env.KEY=VALUE`, `env.NAME.KEY=VALUE` (one environment only), `agent.KEY=VALUE`, `limits.KEY=VALUE` and `backend.KEY=VALUE`.

    Values are read as `empg_gym.runs.overrides` describes.

    Raises:
        ConfigError: the text has another form.
    """
    texts = list(texts)
    sections: dict[str, dict[str, Any]] = {section: {} for section in _SECTIONS}
    for text in texts:
        path, _ = parse_override(text)
        if path[0] not in sections:
            raise ConfigError(f"--set {text}: unknown section {path[0]!r}; {nearest(path[0], sections)}")
        if len(path) == 1:
            raise ConfigError(f"--set {text}: {path[0]} is a section, expected {path[0]}.KEY=VALUE")
    apply_overrides(sections, texts)
    return Settings(**sections)


def read_tasks(texts: Sequence[str]) -> list[str | int]:
    """Read task names: ids, indices, ranges of indices `0:20`, several of them separated by commas, or `@FILE` with one per line.

    `TextEnv.find_task` decides which of them are ids.

    Raises:
        ConfigError: an empty or backward range.
        DataError: the file can't be read.
    """
    tasks: list[str | int] = []
    for text in texts:
        if text.startswith("@"):
            try:
                lines = Path(text[1:]).read_text(encoding="utf-8").splitlines()
            except OSError as error:
                raise DataError(f"can't read the tasks in {text[1:]!r}: {error.strerror}") from None
            tasks.extend(line.strip() for line in lines if line.strip())
            continue
        for part in text.split(","):
            first, colon, last = part.strip().partition(":")
            if colon and first.isdecimal() and last.isdecimal():
                if int(first) >= int(last):
                    raise ConfigError(f"the range {part.strip()!r} is empty; 0:20 means tasks 0 to 19")
                tasks.extend(range(int(first), int(last)))
            elif part.strip():
                tasks.append(part.strip())
    return tasks


def read_prices(text: str) -> Prices:
    """Read "PROMPT,COMPLETION", prices per million tokens.

    Raises:
        ConfigError: not two numbers of at least 0.
    """
    try:
        return Prices(*(float(part) for part in text.split(",")))
    except (TypeError, ValueError):
        raise ConfigError(f"{PRICES_EXPECTED}, such as 0.15,0.60; not {text!r}") from None
