"""A run folder belongs to one configuration: which differences are allowed when a run is resumed, and how others are reported.

A pattern names an entry and everything in it: `"rl.steps"`, `"run"`, `"environments.*.data"` (`*` is any one name).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from empg_gym.errors import OutputExistsError

Place = tuple[str, ...]

_NAMED = 4
"""Differences that an error names."""
_SHOWN = 80
"""Characters of a value that an error shows."""


def require_same(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any], *, may_differ: Sequence[str]) -> None:
    """Compare the configuration in a run folder with the one that is to continue it.

    Raises:
        OutputExistsError: an entry differs that no pattern of `may_differ` covers; the message names what differs.
    """
    patterns = [tuple(pattern.split(".")) for pattern in may_differ]
    found = [one for one in _differences(before, _plain(now)) if not any(_covers(pattern, one[0]) for pattern in patterns)]
    if found:
        named = "; ".join(_describe(*one) for one in found[:_NAMED])
        more = f"; and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        raise OutputExistsError(
            f"{folder} holds a run with another configuration: {named}{more}; "
            "resume with the same configuration, or choose another folder with --out"
        )


def _plain(value: Mapping[str, Any]) -> Any:
    """Return the value as it would be read back from its file."""
    return json.loads(json.dumps(value, default=str))


def _differences(old: Any, new: Any, path: Place = ()) -> Iterator[tuple[Place, Any, Any]]:
    """Yield (path, old, new) of the leaves that differ; a missing entry counts as None."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            yield from _differences(old.get(key), new.get(key), (*path, key))
    elif old != new:
        yield path, old, new


def _covers(pattern: Place, path: Place) -> bool:
    return len(pattern) <= len(path) and all(name in ("*", part) for name, part in zip(pattern, path, strict=False))


def _describe(path: Place, old: Any, new: Any) -> str:
    """Return how a value differs; of lists, which often begin alike, the first entry that differs."""
    name = ".".join(path)
    if not isinstance(old, list) or not isinstance(new, list):
        return f"{name} was {_shown(old)}, is now {_shown(new)}"
    pairs: Iterable[tuple[Any, Any]] = zip(old, new, strict=False)
    place = next((index for index, (one, other) in enumerate(pairs) if one != other), min(len(old), len(new)))
    was, now = (_shown(value[place]) if place < len(value) else "nothing" for value in (old, new))
    return f"{name} had {_entries(old)}, now has {_entries(new)}; the first difference is entry {place + 1}: was {was}, is now {now}"


def _entries(values: list[Any]) -> str:
    return "1 entry" if len(values) == 1 else f"{len(values)} entries"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
